#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "facet/graph.h"
#include "facet/tensor_types.h"

namespace facet::graph {

/// A tensor, identified by its name in the written file.
struct Operand {
  std::string name;
};

using OperatorAttribute = std::pair<std::string_view, std::variant<std::int64_t, float, Shape>>;

/// The interface through which the op of one node writes the operators that compute it in inference, for programs other
/// than facet. The operators are those of ONNX opset 10 (https://onnx.ai/onnx/operators). Inputs and parameters are
/// counted from 0 in the node's order; the first extent of tensors is the batch.
class OperatorWriter {
 public:
  virtual ~OperatorWriter() = default;

  virtual int input_count() const = 0;
  /// Returns the shape of an input, without the batch.
  virtual const Shape& input_shape(int input) const = 0;
  /// Returns a parameter's elements, in PyTorch's order.
  virtual std::vector<float> values(int parameter) const = 0;

  virtual Operand input(int input) = 0;
  /// Returns a parameter, unchanged, as an operand.
  virtual Operand parameter(int parameter) = 0;
  /// Writes a constant tensor, named by the node's name and `part` ("weight").
  virtual Operand constant(std::string_view part, const Shape& shape, const std::vector<float>& values) = 0;
  /// Writes one operator; returns its output.
  virtual Operand write(std::string_view type, const std::vector<Operand>& operands,
                        const std::vector<OperatorAttribute>& attributes = {}) = 0;
};

/// The operation of a node. Ops are immutable and may be shared between graphs. Of the inputs' shapes, those of its
/// parameters depend on nothing but the first extents.
class Op {
 public:
  virtual ~Op() = default;
  /// Returns the name of the op's function: "convolution", "batch_norm", ...
  virtual std::string_view kind() const = 0;
  /// Returns the output's shape, without the batch.
  /// @throws Error saying which shapes were found and which fit.
  virtual Shape infer_shape(const std::vector<Shape>& inputs) const = 0;
  /// Writes the operators that compute the output in inference, and returns that output. An op that does nothing in
  /// inference returns its input.
  /// @throws Error, also when an op has no such form (for example a loss).
  virtual Operand write_operators(OperatorWriter& writer) const;
};

/// Adds a node and the parameters that it owns, whose names ("conv.weight") are prefixed by the open scopes. It is
/// called by the functions of ops.h. A name that already exists in the scope gets a number (relu, relu_1).
/// @throws Error when `op` is null; and, naming the op, when it doesn't accept the inputs' shapes, when its output
///   would have more than 2^40 elements, when an input belongs to another graph, or when add_parameter would throw
///   for a parameter. The graph is then unchanged.
Value apply(Graph& graph, std::shared_ptr<const Op> op, std::string_view name, const std::vector<Value>& inputs,
            std::vector<Parameter> parameters = {});

/// Adds a parameter named by the open scopes and `name` ("conv.weight"); returns its index.
/// @param shape for f32, 1 to 12 extents, each at least 1, with at most 2^40 elements in total; for s64, which is a
///   scalar, empty.
/// @throws Error naming the parameter when its name is empty or exists already, when the shape isn't allowed, when the
///   initializer's value is non-finite, when its kind or the type is invalid, or when an s64 parameter is trainable.
int add_parameter(Graph& graph, std::string_view name, Shape shape, Initializer initializer, bool trainable = true,
                  DataType type = DataType::f32);

/// Returns the same model for an input of another shape: a copy of the graph with the same parameters.
/// @throws Error naming the parameter or head whose shape depends on that of the input, or the op that doesn't accept
///   the shape of its input.
Graph with_input(const Graph& graph, const Shape& input);

/// Returns the number of classes, or of outputs that aren't classes, of a head with so many logits.
constexpr std::int64_t class_count(LossKind kind, std::int64_t logits) {
  return kind == LossKind::coral ? logits + 1 : logits;
}

/// Declares a head with `logits` and their `loss`, a scalar value. The training loss is the sum of all heads' losses.
/// @throws Error naming the head when its name is empty or exists already, when the loss isn't a scalar or the logits
///   aren't a vector, or when either belongs to another graph.
void add_head(Graph& graph, std::string_view name, Value logits, Value loss, LossKind kind);

}  // namespace facet::graph
