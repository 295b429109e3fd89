#pragma once

#include <memory>

#include "graph/op.h"
#include "kernels/activation.h"

namespace facet {

/// Whether `op` is the sum of two values and nothing else.
bool is_add(const Op& op);
/// The same sum with a ReLU after it; null when `op` is no sum, or has one already.
std::shared_ptr<const Op> with_relu_after_add(const Op& op);

/// Writes what fused ops end in: input 1 added to `x`, and an activation, where there is one.
Operand write_add_and_activation(OperatorWriter& writer, Operand x, bool add, kernels::Activation activation);

}  // namespace facet
