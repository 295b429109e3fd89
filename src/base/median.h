#pragma once

#include <vector>

namespace facet::base {

/// The median; for an even number of values the midpoint of the two middle ones.
/// @throws std::out_of_range if there are no values.
double median(std::vector<double> values);

}  // namespace facet::base
