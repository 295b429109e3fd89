#pragma once

#include <memory>

#include "graph/op.h"

namespace facet {

/// The same batch normalisation with a ReLU after it; null when `op` is no batch normalisation, or has one already.
std::shared_ptr<const Op> with_relu_after_batch_norm(const Op& op);

}  // namespace facet
