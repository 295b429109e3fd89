#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

namespace facet::app {

/// Returns the median; for an even number of values the midpoint of the two middle ones. There must be at least one.
inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : std::midpoint(values[half - 1], values[half]);
}

}  // namespace facet::app
