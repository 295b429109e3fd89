#include "facet/onnx.h"

#include <doctest/doctest.h>
#include <onnx/onnx.pb.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "facet/ops.h"
#include "inference/small_model.h"
#include "testing.h"

using namespace facet;

namespace {

onnx::ModelProto exported(const OnnxOptions& options) {
  const TemporaryFolder folder;
  const Graph graph = small::model();
  export_onnx(folder / "a.onnx", small::info(), graph, Parameters(graph, 1), options);
  onnx::ModelProto model;
  REQUIRE(model.ParseFromString(read_file(folder / "a.onnx")));
  return model;
}

std::vector<std::string> operators(const onnx::ModelProto& model) {
  std::vector<std::string> types;
  for (const onnx::NodeProto& node : model.graph().node()) types.push_back(node.op_type());
  return types;
}

std::vector<std::string> tensors(const onnx::ModelProto& model) {
  std::vector<std::string> names;
  for (const onnx::TensorProto& tensor : model.graph().initializer()) names.push_back(tensor.name());
  return names;
}

std::vector<std::string> with_heads(std::vector<std::string> trunk, const std::string& last) {
  for (int head = 0; head < 3; ++head) trunk.insert(trunk.end(), {"Gemm", "Relu", "Gemm"});
  trunk.insert(trunk.end(), 3, last);
  return trunk;
}

/// Two linear layers on an image of 16x16.
Graph linear_model(const std::string& head, std::int64_t hidden = 4) {
  Graph graph;
  Value x = flatten(graph.input({3, 16, 16}));
  x = linear(x, {.features = hidden, .weight_initializer = Initializer::zeros(), .name = "hidden"});
  softmax_cross_entropy(linear(x, {.features = 2, .name = "logits"}), head);
  return graph;
}

std::string refusal(const std::string& head, const Graph& graph, const Parameters& parameters) {
  const TemporaryFolder folder;
  ModelInfo info = small::info();
  info.heads = {{head, {"a", "b"}}};
  const std::string error = error_of([&] { export_onnx(folder / "a.onnx", info, graph, parameters); });
  CHECK(std::filesystem::is_empty(folder.path()));
  REQUIRE(error.starts_with((folder / "a.onnx: can't be written: ").string()));
  return error.substr((folder / "a.onnx: can't be written: ").string().size());
}

}  // namespace

TEST_CASE("ONNX: the input has the model's height and width, and the text of the crop says what is covered") {
  const TemporaryFolder folder;
  const auto input_of = [&](ImageSize size) {
    ModelInfo info = small::info();
    info.size = size;
    info.resize = ResizeMode::crop;
    const Graph graph = small::model(small::heads(), size);
    export_onnx(folder / "a.onnx", info, graph, Parameters(graph, 1));
    onnx::ModelProto model;
    REQUIRE(model.ParseFromString(read_file(folder / "a.onnx")));
    CHECK(std::ranges::any_of(model.metadata_props(), [&](const onnx::StringStringEntryProto& entry) {
      return entry.key() == "size" && entry.value() == (size.height == size.width ? "16" : to_string(size));
    }));
    return model.graph().input(0);
  };
  const onnx::ValueInfoProto tall = input_of({48, 32});
  const onnx::TensorShapeProto& shape = tall.type().tensor_type().shape();
  REQUIRE(shape.dim_size() == 4);
  CHECK(shape.dim(0).dim_param() == "batch");
  CHECK(shape.dim(2).dim_value() == 48);
  CHECK(shape.dim(3).dim_value() == 32);
  CHECK(tall.doc_string().starts_with("RGB images of 48x32, the centre of those resized to cover 54x36: "));
  CHECK(input_of(16).doc_string().starts_with(
      "RGB images of 16x16, the centre of those resized to 18 on the shorter side: "));
}

TEST_CASE("ONNX: batch normalisations are folded or kept, tensors have PyTorch's names, and outputs the heads' names") {
  const onnx::ModelProto folded = exported({});
  CHECK(
      operators(folded) ==
      with_heads({"Conv", "Relu", "MaxPool", "Conv", "Relu", "Conv", "Add", "Relu", "MaxPool", "Flatten"}, "Identity"));
  CHECK(tensors(folded) ==
        std::vector<std::string>{"stem.conv.weight", "stem.conv.bias", "block.conv1.weight", "block.conv1.bias",
                                 "block.conv2.weight", "block.conv2.bias", "colour.hidden.weight", "colour.hidden.bias",
                                 "colour.logits.weight", "colour.logits.bias", "side.hidden.weight", "side.hidden.bias",
                                 "side.logits.weight", "side.logits.bias", "stripes.hidden.weight",
                                 "stripes.hidden.bias", "stripes.logits.weight", "stripes.logits.bias"});
  REQUIRE(folded.graph().output_size() == 3);
  CHECK(folded.graph().output(1).name() == "side");
  CHECK(folded.producer_name() == "facet");

  const onnx::ModelProto kept = exported({.fold_batch_norm = false, .softmax = true});
  CHECK(operators(kept) == with_heads({"Conv", "BatchNormalization", "Relu", "MaxPool", "Conv", "BatchNormalization",
                                       "Relu", "Conv", "BatchNormalization", "Add", "Relu", "MaxPool", "Flatten"},
                                      "Softmax"));
  CHECK(std::ranges::count(tensors(kept), "block.bn2.running_var") == 1);
}

TEST_CASE("ONNX: probabilities are softmaxes or sigmoids by the head's loss, and outputs where the loss has none") {
  const TemporaryFolder folder;
  Graph graph;
  const Value x = flatten(graph.input({3, 16, 16}));
  const auto logits = [&](std::int64_t outputs, const char* name) {
    return linear(x, {.features = outputs, .name = name});
  };
  softmax_cross_entropy(logits(2, "a"), "side");
  binary_cross_entropy(logits(1, "b"), "hat");
  mean_squared_error(logits(1, "c"), "years");
  custom_loss(logits(2, "d"), "own", [](const LossInput&, std::span<float>) { return 0.0; });
  ModelInfo info = small::info();
  info.heads = {{"side", {"left", "right"}}, {"hat", {"hat"}}, {"years", {"years"}}, {"own", {"x", "y"}}};
  export_onnx(folder / "a.onnx", info, graph, Parameters(graph, 1), {.softmax = true});
  onnx::ModelProto model;
  REQUIRE(model.ParseFromString(read_file(folder / "a.onnx")));
  CHECK(operators(model) == std::vector<std::string>{"Flatten", "Gemm", "Gemm", "Gemm", "Gemm", "Softmax", "Sigmoid",
                                                     "Identity", "Identity"});
  CHECK(model.graph().output(1).name() == "hat");
  CHECK(model.graph().output(1).type().tensor_type().shape().dim(1).dim_value() == 1);
}

TEST_CASE("ONNX: an ordinal head has the logits of being above each class, or the classes' probabilities") {
  const TemporaryFolder folder;
  Graph graph;
  coral_loss(coral(flatten(graph.input({3, 16, 16})), {.classes = 4, .name = "coral"}), "age");
  ModelInfo info = small::info();
  info.heads = {{"age", {"a", "b", "c", "d"}, true}};
  Parameters parameters(graph, 1);
  parameters.set(parameters.find("coral.bias"), {-1, 2, 0.5F});
  for (const bool softmax : {false, true}) {
    export_onnx(folder / "a.onnx", info, graph, parameters, {.softmax = softmax});
    onnx::ModelProto model;
    REQUIRE(model.ParseFromString(read_file(folder / "a.onnx")));
    const std::vector<std::string> found = operators(model);
    CHECK(found.front() == "Flatten");
    CHECK(found.back() == (softmax ? "Gemm" : "Identity"));
    CHECK(std::ranges::count(found, "Sigmoid") == (softmax ? 1 : 0));
    CHECK(model.graph().output(0).type().tensor_type().shape().dim(1).dim_value() == (softmax ? 4 : 3));
    bool descending = false;  // a constant of the biases, as inference takes them
    for (const onnx::TensorProto& tensor : model.graph().initializer()) {
      std::vector<float> values(tensor.raw_data().size() / sizeof(float));
      std::memcpy(values.data(), tensor.raw_data().data(), values.size() * sizeof(float));
      descending = descending || values == std::vector<float>{2, 0.5F, -1};
    }
    CHECK(descending);
    std::string heads;
    for (const onnx::StringStringEntryProto& entry : model.metadata_props()) {
      if (entry.key() == "heads") heads = entry.value();
    }
    CHECK(heads == R"([{"name":"age","classes":["a","b","c","d"],"ordinal":true}])");
  }
}

TEST_CASE("ONNX: a model that can't be exported is refused, and leaves no file") {
  const Graph graph = linear_model("colour");
  Parameters parameters(graph, 1);
  CHECK(refusal("side", graph, parameters) ==
        "model small: head 1 of the graph is colour; in its description it is side");
  CHECK(refusal("colour", graph, Parameters(small::model(), 1)) == "the parameters belong to another graph");
  CHECK(refusal("input", linear_model("input"), parameters) ==
        "a head can't be called 'input': another tensor of the file has that name");
  CHECK(refusal("colour", linear_model("colour", 1'000'000), parameters) ==
        "the model takes 3084000008 bytes; an ONNX file can hold at most 2147483647");
  parameters.set(parameters.find("logits.bias"), {0, std::numeric_limits<float>::quiet_NaN()});
  CHECK(refusal("colour", graph, parameters) == "tensor 'logits.bias' holds a number that isn't finite");
}
