#pragma once

#include "graph/op.h"

namespace facet {

bool is_concat(const Op& op);

}  // namespace facet
