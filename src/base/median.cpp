#include "base/median.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace facet::base {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  const double upper = values.at(half);
  return values.size() % 2 == 1 ? upper : std::midpoint(values[half - 1], upper);
}

}  // namespace facet::base
