#pragma once

#include "graph/op.h"
#include "kernels/activation.h"
#include "onednn/onednn.h"

namespace facet {

/// What `op` does, where it is an activation and nothing else.
kernels::Activation activation_of(const Op& op);
/// "", "relu" or "relu6".
std::string_view name_of(kernels::Activation activation);
/// Writes it, of x.
Operand write(kernels::Activation activation, OperatorWriter& writer, Operand x);
/// Lets the primitive do it last.
void append(kernels::Activation activation, dnnl::post_ops& operations);

}  // namespace facet
