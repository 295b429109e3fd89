#include <doctest/doctest.h>

#include <set>

#include "facet/inference.h"
#include "facet/model_file.h"
#include "facet/models.h"
#include "formats/pytorch_file.h"
#include "models/heads.h"
#include "reference/reference_file.h"
#include "testing.h"

namespace facet::testing {
namespace {

bool have_files() { return have_references("pretrained_files.json"); }

std::vector<float> floats(const formats::TensorValues& values) {
  if (const auto* found = std::get_if<std::vector<float>>(&values)) return *found;
  const auto& whole = std::get<std::vector<std::int64_t>>(values);
  return {whole.begin(), whole.end()};
}

}  // namespace

TEST_CASE("tensors that PyTorch saved are read exactly, of every type and with any strides") {
  if (!have_files()) return;
  const ReferenceFile expected("state_dict");
  for (const char* file : {"state_dict.pth", "protocol4.pth", "legacy_state_dict.pth", "legacy_protocol4.pth"}) {
    CAPTURE(file);
    const auto tensors = formats::open_pytorch_file(reference_folder() / file).tensors;
    CHECK(tensors.size() == 16);
    for (const auto& tensor : tensors) {
      CAPTURE(tensor.name);
      CHECK(tensor.shape == expected.shape(tensor.name));
      CHECK(floats(tensor.values()) == expected.read(tensor.name));
      CHECK((tensor.type == DataType::s64) == (tensor.name == "count"));
    }
  }
}

TEST_CASE("torchvision's weights are loaded into facet's model by their names") {
  if (!have_files()) return;
  const Graph graph = build_model("resnet18", {.heads = fairface_heads(), .size = 64});
  Parameters parameters(graph, 1);
  const PretrainedWeights found = load_pretrained(reference_folder() / "resnet18.pth", graph, {}, parameters);
  CHECK(found.left_out == std::set<std::string>{"fc"});
  CHECK(found.fresh == std::set<std::string>{"heads.age", "heads.gender", "heads.race"});
  const ReferenceFile expected("resnet18.expected");
  for (std::size_t i = 0; i < parameters.list().size(); ++i) {
    const std::string& name = parameters.list()[i].name;
    if (!name.starts_with("heads.")) {
      CHECK_MESSAGE(parameters.get(static_cast<int>(i)) == expected.read(name), name);
    }
  }
  const Graph other = build_model("mobilenet_v2", {.heads = fairface_heads(), .size = 64});
  Parameters others(other, 1);
  const std::string what = error_of([&] { load_pretrained(reference_folder() / "resnet18.pth", other, {}, others); });
  CHECK_MESSAGE(contains(what, R"(don't fit the model: "features.0.0.weight" is missing (and )"), what);
  CHECK_MESSAGE(contains(what, R"("conv1.weight" isn't in the model (and )"), what);
}

TEST_CASE("weights give PyTorch's logits, from every form in which they are saved") {
  if (!have_files()) return;
  const TemporaryFolder folder;
  const ReferenceFile expected("weights.expected");
  const std::vector<std::uint8_t> pixels = expected.pixels();
  struct Saved {
    std::string file, model, layer;
  };
  constexpr const char* mobilenet = "mobilenet_v2";
  constexpr const char* classifier = "classifier.1";
  for (const Saved& saved :
       {Saved{"resnet34", "resnet34", "fc"}, Saved{"densenet121", "densenet121", "classifier"},
        Saved{"checkpoint", mobilenet, classifier}, Saved{"legacy-checkpoint", mobilenet, classifier},
        Saved{"compiled", mobilenet, classifier}, Saved{"averaged", mobilenet, classifier},
        Saved{"half", mobilenet, classifier}, Saved{"bfloat16", mobilenet, classifier},
        Saved{"double", mobilenet, classifier}, Saved{"counters", mobilenet, classifier},
        Saved{"strided", mobilenet, classifier}}) {
    CAPTURE(saved.file);
    const HeadSplit split = parse_head_split(saved.layer + "=race:0-6,gender:7-8,age:9-17");
    ModelInfo info{.model = saved.model, .size = 64};
    for (const HeadRows& part : split.heads) info.heads.push_back(part.head);
    const Graph graph = build_model(info);
    Parameters parameters(graph, 1);
    const PretrainedWeights found =
        load_pretrained(reference_folder() / ("weights-" + saved.file + ".pth"), graph, info.heads, parameters, split);
    CHECK(found.left_out.empty());
    CHECK(found.fresh.empty());
    save_model(folder / "model", info, parameters);
    Predictor predictor(folder / "model");
    std::vector<float> logits;  // in the classifier's order: for each image, head after head
    const std::vector<HeadPrediction>& heads = predictor.predict(pixels);
    for (std::size_t image = 0; image < 2; ++image) {
      for (std::size_t head = 0; head < heads.size(); ++head) {
        const std::size_t classes = info.heads[head].classes.size();
        const auto begin = heads[head].logits.begin() + static_cast<std::ptrdiff_t>(image * classes);
        logits.insert(logits.end(), begin, begin + static_cast<std::ptrdiff_t>(classes));
      }
    }
    CHECK(difference(logits, expected.read(saved.file)).rms < 1e-4);
  }
}

TEST_CASE("other files of PyTorch are refused in one line") {
  if (!have_files()) return;
  const std::pair<const char*, const char*> files[] = {
      {"module.pth", R"(holds an object of "torch.nn.modules.linear.Linear"; a state_dict)"},
      {"legacy_module.pth", R"(holds an object of "torch.nn.modules.linear.Linear"; a state_dict)"},
      {"checkpoint.pth", R"("epoch" in its dictionary is an integer; a tensor is needed)"},
      {"other_checkpoint.pth", R"("epoch" in its dictionary is an integer; a tensor is needed)"},
      {"mask.pth", R"(tensor "mask" has elements of "torch.BoolStorage"; Float-)"},
      {"script.pth", "holds a TorchScript program"}};
  for (const auto& [file, message] : files) {
    const Graph graph = build_model("resnet18", {.heads = fairface_heads(), .size = 64});
    Parameters parameters(graph, 1);
    const std::string what = error_of([&] { load_pretrained(reference_folder() / file, graph, {}, parameters); });
    CHECK_MESSAGE(contains(what, message), what);
  }
}

}  // namespace facet::testing
