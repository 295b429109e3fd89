#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "facet/tensor_types.h"

namespace facet {

/// A tensor by its name in what is written.
struct Operand {
  std::string name;
};

using OperatorAttribute = std::pair<std::string_view, std::variant<std::int64_t, float, Shape>>;

/// What an op writes the operators to that compute it in inference, for programs other than facet: how one node sees
/// the file. The operators are ONNX's at opset 10 (https://onnx.ai/onnx/operators). Inputs and parameters are counted
/// from 0 in the node's order; tensors have the batch in front.
class OperatorWriter {
 public:
  virtual ~OperatorWriter() = default;

  virtual int input_count() const = 0;
  /// Without the batch.
  virtual const Shape& input_shape(int input) const = 0;
  /// A parameter's elements, in PyTorch's order.
  virtual std::vector<float> values(int parameter) const = 0;

  virtual Operand input(int input) = 0;
  /// A parameter as it is.
  virtual Operand parameter(int parameter) = 0;
  /// A tensor of the op's own; `part` ("weight") is added to the node's name.
  virtual Operand constant(std::string_view part, const Shape& shape, const std::vector<float>& values) = 0;
  /// Writes one operator; returns its output.
  virtual Operand write(std::string_view type, const std::vector<Operand>& operands,
                        const std::vector<OperatorAttribute>& attributes = {}) = 0;
};

}  // namespace facet
