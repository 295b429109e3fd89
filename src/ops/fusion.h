#pragma once

#include <memory>

#include "graph/op.h"
#include "kernels/activation.h"
#include "onednn/onednn.h"

namespace facet::ops {

/// The activation that `op` computes; none if it is another op.
kernels::Activation activation_of(const graph::Op& op);
/// "", "relu" or "relu6".
std::string_view name_of(kernels::Activation activation);
/// Writes the activation of `x`; returns `x` itself if there is none.
graph::Operand write(kernels::Activation activation, graph::OperatorWriter& writer, graph::Operand x);
/// Appends the activation to the post-ops of a primitive.
void append(kernels::Activation activation, dnnl::post_ops& operations);

/// Whether `op` is the sum of two values and nothing else.
bool is_add(const graph::Op& op);
/// The same sum with a ReLU after it; null when `op` is no sum or already has one.
std::shared_ptr<const graph::Op> with_relu_after_add(const graph::Op& op);

/// Writes the end of fused ops: input 1 added to `x` if `add` is true, then the activation if there is one.
graph::Operand write_add_and_activation(graph::OperatorWriter& writer, graph::Operand x, bool add,
                                        kernels::Activation activation);

/// The same batch normalisation with a second input added; null when `op` is no batch normalisation or already has
/// something after it.
std::shared_ptr<const graph::Op> with_residual_after_batch_norm(const graph::Op& op);
/// The same batch normalisation with an activation after it; null when `op` is no batch normalisation or already has
/// one.
std::shared_ptr<const graph::Op> with_activation_after_batch_norm(const graph::Op& op, kernels::Activation activation);

/// A convolution and the batch normalisation after it, with all that is fused to the latter, as one op for inference
/// and frozen nodes; null when the ops are of other kinds or the convolution already has a tail.
std::shared_ptr<const graph::Op> fold_batch_norm(const graph::Op& convolution, const graph::Op& batch_norm);

bool is_concat(const graph::Op& op);

}  // namespace facet::ops
