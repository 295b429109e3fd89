#pragma once

#include <vector>

namespace facet::base {

/// Of an even number of values the midpoint of the two in the middle.
/// @throws std::out_of_range when there is no value.
double median(std::vector<double> values);

}  // namespace facet::base
