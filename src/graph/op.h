#pragma once

#include <string_view>
#include <vector>

#include "facet/tensor_types.h"
#include "graph/operator_writer.h"

namespace facet {

/// What a node does. Immutable; a graph's passes may share one between graphs.
class Op {
 public:
  virtual ~Op() = default;
  /// "convolution", "batch_norm", ...: as the op's function is called.
  virtual std::string_view kind() const = 0;
  /// The output's shape, without the batch.
  /// @throws Error saying which shapes were found and which fit.
  virtual Shape infer_shape(const std::vector<Shape>& inputs) const = 0;
  /// Writes what computes the output in inference; returns it. An op that does nothing there returns its input.
  /// @throws Error, also where an op has no such form (a loss, say).
  virtual Operand write_operators(OperatorWriter& writer) const;
};

}  // namespace facet
