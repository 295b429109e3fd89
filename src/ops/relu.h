#pragma once

#include "graph/op.h"

namespace facet {

/// Whether `op` is max(x, 0) and nothing else.
bool is_relu(const Op& op);

}  // namespace facet
