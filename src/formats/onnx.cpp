#include "facet/onnx.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "facet/error.h"
#include "facet/files.h"
#include "facet/platform.h"
#include "formats/model_file.h"
#include "formats/onnx_graph.h"
#include "graph/op.h"
#include "program/parameter_store.h"
#include "program/passes.h"

namespace facet {
namespace formats {
namespace {

// More programs read older opsets. This one has all operators in use; OpenCV 4.6 can't read the Clip of later ones.
constexpr int opset = 10;
constexpr int ir_version = 5;  // of the same age as the opset
constexpr const char* input_name = "input";
constexpr const char* batch_name = "batch";

std::string_view name_of(OnnxInput input) {
  switch (input) {
    case OnnxInput::normalized:
      return "normalized";
    case OnnxInput::unit:
      return "unit";
    case OnnxInput::pixels:
      return "pixels";
  }
  return {};
}

std::string described(const ModelInfo& info, OnnxInput input) {
  const auto& [mean, deviation] = info.normalization;
  const ImageSize covered = covered_size(info.size, info.resize);
  std::string crop;
  if (info.resize == ResizeMode::crop && info.size.height == info.size.width) {
    crop = fmt::format(", the centre of those resized to {} on the shorter side", covered.height);
  } else if (info.resize == ResizeMode::crop) {
    crop = fmt::format(", the centre of those resized to cover {}", to_string(covered));
  }
  const std::string images = fmt::format("RGB images of {}{}: ", to_string(info.size), crop);
  if (input == OnnxInput::pixels) return images + "8-bit pixels as they are, 0 to 255";
  if (input == OnnxInput::unit) return images + "8-bit pixels / 255, 0 to 1";
  return images + fmt::format("(8-bit pixels / 255 - mean) / std, with the mean {}, {}, {} and the std {}, {}, {}",
                              mean[0], mean[1], mean[2], deviation[0], deviation[1], deviation[2]);
}

/// @throws Error when the parameters belong to another graph.
void require_parameters(const Graph& graph, const Parameters& parameters) {
  const auto same = [](const Parameter& a, const Parameter& b) { return a.name == b.name && a.shape == b.shape; };
  if (!std::ranges::equal(graph.parameters(), parameters.list(), same))
    throw Error("the parameters belong to another graph");
}

void require_size(std::int64_t bytes) {
  if (bytes > std::numeric_limits<std::int32_t>::max())
    throw Error(fmt::format("the model takes {} bytes; an ONNX file can hold at most 2147483647", bytes),
                ErrorCode::unsupported);
}

void set_value_info(onnx::ValueInfoProto& value, const std::string& name, const Shape& shape) {
  value.set_name(name);
  onnx::TypeProto::Tensor& tensor = *value.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(onnx::TensorProto::FLOAT);
  tensor.mutable_shape()->add_dim()->set_dim_param(batch_name);
  for (const std::int64_t extent : shape) tensor.mutable_shape()->add_dim()->set_dim_value(extent);
}

/// Returns for each node whether the logits of a head depend on it.
std::vector<bool> find_needed(const Graph& graph, const std::vector<Node>& nodes) {
  std::vector<bool> needed(nodes.size(), false);
  for (const HeadOutput& head : graph.heads()) needed[head.logits] = true;
  for (std::size_t i = nodes.size(); i-- > 0;) {
    for (const int input : nodes[i].inputs) needed[input] = needed[input] || needed[i];
  }
  return needed;
}

/// Writes the normalisation of the input. @return the operand that the network reads.
graph::Operand write_normalization(OnnxGraph& writer, const Normalization& normalization, OnnxInput input) {
  if (input == OnnxInput::normalized) return {input_name};
  const float white = input == OnnxInput::pixels ? 255.0F : 1.0F;
  std::vector<float> mean, variance;
  for (const float value : normalization.mean) mean.push_back(value * white);
  for (const float value : normalization.std) variance.push_back(value * white * value * white);
  writer.begin({.op = nullptr, .name = input_name, .inputs = {}, .parameters = {}, .shape = {}}, {}, {});
  return writer.write("BatchNormalization",
                      {{input_name},
                       writer.constant("weight", {3}, {1, 1, 1}),
                       writer.constant("bias", {3}, {0, 0, 0}),
                       writer.constant("mean", {3}, mean),
                       writer.constant("var", {3}, variance)},
                      {{"epsilon", 0.0F}});
}

/// Writes the probabilities of ordered classes: from the sigmoids p, 1 - p[0], p[0] - p[1], ..., p[classes - 2].
void write_coral_probabilities(OnnxGraph& writer, const graph::Operand& logits, const HeadOutput& head) {
  const std::int64_t classes = head.classes, outputs = classes - 1;
  std::vector<float> differences(static_cast<std::size_t>(classes * outputs)), first(static_cast<std::size_t>(classes));
  first[0] = 1;
  for (std::int64_t k = 0; k < outputs; ++k) {
    differences[static_cast<std::size_t>(k * outputs + k)] = -1;
    differences[static_cast<std::size_t>((k + 1) * outputs + k)] = 1;
  }
  writer.begin({.op = nullptr, .name = head.name, .inputs = {}, .parameters = {}, .shape = {}}, {}, {});
  const graph::Operand above = writer.write("Sigmoid", {logits});
  writer.write_output("Gemm",
                      {above, writer.constant("differences", {classes, outputs}, differences),
                       writer.constant("first", {classes}, first)},
                      {{"transB", 1}}, head.name);
}

void write_graph(onnx::GraphProto& proto, const ModelInfo& info, const Graph& graph, const Parameters& parameters,
                 const OnnxOptions& options) {
  proto.set_name(info.model);
  set_value_info(*proto.add_input(), input_name, graph.input_shape());
  proto.mutable_input(0)->set_doc_string(described(info, options.input));
  OnnxGraph writer(proto, parameters);
  writer.reserve(input_name);
  for (const HeadOutput& head : graph.heads()) writer.reserve(head.name);

  // These are the nodes of a program for inference, so that the file computes what facet computes.
  const program::FusedNodes fused = program::fuse(graph, graph.parameters(), options.fold_batch_norm);
  const std::vector<bool> needed = find_needed(graph, fused.nodes);
  std::vector<graph::Operand> values(fused.nodes.size());
  for (std::size_t i = 0; i < fused.nodes.size(); ++i) {
    const Node& node = fused.nodes[i];
    if (!needed[i] || fused.gone[i]) continue;
    if (node.op == nullptr) {
      values[i] = write_normalization(writer, info.normalization, options.input);
      continue;
    }
    std::vector<graph::Operand> inputs;
    std::vector<Shape> shapes;
    for (const int input : node.inputs) {
      inputs.push_back(values[input]);
      shapes.push_back(fused.nodes[input].shape);
    }
    writer.begin(node, std::move(inputs), std::move(shapes));
    try {
      values[i] = node.op->write_operators(writer);
    } catch (const Error& error) {
      throw error.with_prefix(node.name + ": ");
    }
  }
  for (const HeadOutput& head : graph.heads()) {
    set_value_info(*proto.add_output(), head.name, {options.softmax ? head.classes : head.logit_count()});
    if (options.softmax && head.kind == LossKind::binary_cross_entropy) {
      writer.write_output("Sigmoid", {values[head.logits]}, {}, head.name);
    } else if (options.softmax && head.kind == LossKind::softmax_cross_entropy) {
      writer.write_output("Softmax", {values[head.logits]}, {{"axis", 1}}, head.name);
    } else if (options.softmax && head.kind == LossKind::coral) {
      write_coral_probabilities(writer, values[head.logits], head);
    } else {
      writer.write_output("Identity", {values[head.logits]}, {}, head.name);
    }
  }
}

std::string serialized(const onnx::ModelProto& model) {
  require_size(static_cast<std::int64_t>(model.ByteSizeLong()));
  return model.SerializeAsString();
}

std::string onnx_file(Metadata metadata, const ModelInfo& info, const Graph& graph, const Parameters& parameters,
                      const OnnxOptions& options) {
  require_graph(info, graph);
  std::int64_t bytes = 0;
  for (const Parameter& parameter : graph.parameters())
    bytes += element_count(parameter.shape) * static_cast<std::int64_t>(sizeof(float));
  require_size(bytes);
  require_parameters(graph, parameters);
  if (const int index = parameters.state().find_not_finite(); index >= 0)
    throw Error(fmt::format("tensor '{}' holds a number that isn't finite", parameters.list()[index].name),
                ErrorCode::non_finite);

  onnx::ModelProto model;
  model.set_ir_version(ir_version);
  model.add_opset_import()->set_version(opset);
  model.set_producer_name("facet");
  model.set_producer_version(std::string(version()));
  metadata.emplace("input", name_of(options.input));
  metadata.emplace("outputs", options.softmax ? "probabilities" : "logits");
  for (const auto& [key, value] : metadata) {
    onnx::StringStringEntryProto& entry = *model.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  }
  write_graph(*model.mutable_graph(), info, graph, parameters, options);
  return serialized(model);
}

}  // namespace
}  // namespace formats

void export_onnx(const std::filesystem::path& file, const ModelInfo& info, const Graph& graph,
                 const Parameters& parameters, const OnnxOptions& options) {
  const std::string name = file.string();
  formats::Metadata metadata = formats::to_metadata(name, info);
  std::string bytes;
  try {
    bytes = formats::onnx_file(std::move(metadata), info, graph, parameters, options);
  } catch (const Error& error) {
    throw error.with_prefix(name + ": can't be written: ");
  }
  AtomicFile output(file);
  output.write(bytes);
  output.commit();
}

}  // namespace facet
