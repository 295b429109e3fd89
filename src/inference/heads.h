#pragma once

#include <string_view>
#include <vector>

#include "facet/data.h"

namespace facet::inference {

/// @param whose what messages call `found`: "the training set".
/// @throws Error naming the first head, or class of a head, in which `found` isn't `expected`, and both values.
void require_heads(const std::vector<Head>& expected, const std::vector<Head>& found, std::string_view whose);

}  // namespace facet::inference
