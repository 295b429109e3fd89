#include "base/median.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <numeric>

namespace facet::base {

double median(std::vector<double> values) {
  assert(!values.empty());
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : std::midpoint(values[half - 1], values[half]);
}

}  // namespace facet::base
