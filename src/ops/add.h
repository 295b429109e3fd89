#pragma once

#include <memory>

#include "graph/op.h"

namespace facet {

/// Whether `op` is the sum of two values and nothing else.
bool is_add(const Op& op);
/// The same sum with a ReLU after it; null when `op` is no sum, or has one already.
std::shared_ptr<const Op> with_relu_after_add(const Op& op);

}  // namespace facet
