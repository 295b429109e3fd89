#include "formats/onnx_graph.h"

#include <fmt/format.h>

#include <bit>
#include <utility>

#include "facet/error.h"

namespace facet::formats {
namespace {

static_assert(std::endian::native == std::endian::little, "raw_data is little-endian");

/// Sets an attribute's type and value.
struct SetAttribute {
  onnx::AttributeProto& proto;

  void operator()(std::int64_t value) const {
    proto.set_type(onnx::AttributeProto::INT);
    proto.set_i(value);
  }
  void operator()(float value) const {
    proto.set_type(onnx::AttributeProto::FLOAT);
    proto.set_f(value);
  }
  void operator()(const Shape& values) const {
    proto.set_type(onnx::AttributeProto::INTS);
    for (const std::int64_t value : values) proto.add_ints(value);
  }
};

}  // namespace

void OnnxGraph::reserve(const std::string& name) {
  if (!names_.insert(name).second)
    throw Error(fmt::format("a head can't be called '{}': another tensor of the file has that name", name));
}

void OnnxGraph::begin(const Node& node, std::vector<graph::Operand> inputs, std::vector<Shape> shapes) {
  node_name_ = node.name;
  node_parameters_ = node.parameters;
  inputs_ = std::move(inputs);
  shapes_ = std::move(shapes);
}

std::vector<float> OnnxGraph::values(int parameter) const { return parameters_.get(node_parameters_.at(parameter)); }

graph::Operand OnnxGraph::parameter(int parameter) {
  const Parameter& found = parameters_.list().at(node_parameters_.at(parameter));
  return add_tensor(found.name, found.shape, values(parameter));
}

graph::Operand OnnxGraph::constant(std::string_view part, const Shape& shape, const std::vector<float>& values) {
  return add_tensor(fmt::format("{}.{}", node_name_, part), shape, values);
}

graph::Operand OnnxGraph::add_tensor(const std::string& name, const Shape& shape, const std::vector<float>& values) {
  onnx::TensorProto& tensor = *proto_.add_initializer();
  tensor.set_name(unused_name(name));
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  for (const std::int64_t extent : shape) tensor.add_dims(extent);
  tensor.set_raw_data(values.data(), values.size() * sizeof(float));
  return {tensor.name()};
}

graph::Operand OnnxGraph::write(std::string_view type, const std::vector<graph::Operand>& operands,
                                const std::vector<graph::OperatorAttribute>& attributes) {
  return {add_operator(type, operands, attributes, unused_name(fmt::format("{}/{}", node_name_, type))).output(0)};
}

void OnnxGraph::write_output(std::string_view type, const std::vector<graph::Operand>& operands,
                             const std::vector<graph::OperatorAttribute>& attributes, const std::string& output) {
  add_operator(type, operands, attributes, output);
}

onnx::NodeProto& OnnxGraph::add_operator(std::string_view type, const std::vector<graph::Operand>& operands,
                                         const std::vector<graph::OperatorAttribute>& attributes,
                                         const std::string& output) {
  onnx::NodeProto& node = *proto_.add_node();
  node.set_name(output);
  node.set_op_type(std::string(type));
  for (const graph::Operand& operand : operands) node.add_input(operand.name);
  node.add_output(output);
  for (const auto& [name, value] : attributes) {
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(std::string(name));
    std::visit(SetAttribute{attribute}, value);
  }
  return node;
}

std::string OnnxGraph::unused_name(const std::string& name) {
  std::string candidate = name;
  for (int number = 1; !names_.insert(candidate).second; ++number) candidate = fmt::format("{}_{}", name, number);
  return candidate;
}

}  // namespace facet::formats
