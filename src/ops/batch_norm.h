#pragma once

#include <memory>

#include "graph/op.h"
#include "kernels/activation.h"

namespace facet {

/// The same batch normalisation with a second input added; null when `op` is no batch normalisation, or has something
/// after it already.
std::shared_ptr<const Op> with_residual_after_batch_norm(const Op& op);
/// The same batch normalisation with an activation after it; null when `op` is no batch normalisation, or has one
/// already.
std::shared_ptr<const Op> with_activation_after_batch_norm(const Op& op, kernels::Activation activation);

/// A convolution and the batch normalisation after it, with all that the latter has after it, as one op for inference;
/// null when they are none.
std::shared_ptr<const Op> fold_batch_norm(const Op& convolution, const Op& batch_norm);

}  // namespace facet
