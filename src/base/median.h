#pragma once

#include <vector>

namespace facet::base {

/// Of an even number of values the midpoint of the two in the middle.
/// @pre there is a value.
double median(std::vector<double> values);

}  // namespace facet::base
