#pragma once

#include <onnx/onnx.pb.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "facet/graph.h"
#include "facet/parameters.h"
#include "graph/op.h"

namespace facet::formats {

/// Builds an ONNX graph, one node of a facet graph at a time. A number is appended to a name that is already in use.
class OnnxGraph final : public graph::OperatorWriter {
 public:
  OnnxGraph(onnx::GraphProto& proto, const Parameters& parameters) : proto_(proto), parameters_(parameters) {}

  /// Reserves a name for the input or an output. @throws Error when the name is already in use.
  void reserve(const std::string& name);

  /// Begins a node. Everything that is written before the next call belongs to it.
  /// @param inputs the node's inputs in the file.
  /// @param shapes the shapes of the inputs, without the batch dimension.
  void begin(const Node& node, std::vector<graph::Operand> inputs, std::vector<Shape> shapes);

  int input_count() const override { return static_cast<int>(inputs_.size()); }
  const Shape& input_shape(int input) const override { return shapes_.at(input); }
  std::vector<float> values(int parameter) const override;
  graph::Operand input(int input) override { return inputs_.at(input); }
  graph::Operand parameter(int parameter) override;
  graph::Operand constant(std::string_view part, const Shape& shape, const std::vector<float>& values) override;
  graph::Operand write(std::string_view type, const std::vector<graph::Operand>& operands,
                       const std::vector<graph::OperatorAttribute>& attributes = {}) override;
  /// Writes an operator whose output has the name `output`, which must be reserved.
  void write_output(std::string_view type, const std::vector<graph::Operand>& operands,
                    const std::vector<graph::OperatorAttribute>& attributes, const std::string& output);

 private:
  std::string unused_name(const std::string& name);
  graph::Operand add_tensor(const std::string& name, const Shape& shape, const std::vector<float>& values);
  onnx::NodeProto& add_operator(std::string_view type, const std::vector<graph::Operand>& operands,
                                const std::vector<graph::OperatorAttribute>& attributes, const std::string& output);

  onnx::GraphProto& proto_;
  const Parameters& parameters_;
  std::set<std::string> names_;
  std::string node_name_;
  std::vector<int> node_parameters_;
  std::vector<graph::Operand> inputs_;
  std::vector<Shape> shapes_;
};

}  // namespace facet::formats
