#include <fmt/format.h>

#include <limits>
#include <numeric>
#include <utility>

#include "base/random.h"
#include "facet/data.h"
#include "facet/error.h"

namespace facet {

std::vector<std::int64_t> epoch_order(std::int64_t count, std::uint64_t seed, std::int64_t epoch) {
  if (count < 0 || count > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(fmt::format("an epoch of {} images; 0 to 2^32 - 1 are allowed", count));
  }
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  base::RandomStream random(seed, base::Purpose::order, static_cast<std::uint64_t>(epoch));
  for (std::size_t left = order.size(); left > 1; --left) {
    std::swap(order[left - 1], order[random.below(static_cast<std::uint32_t>(left))]);
  }
  return order;
}

}  // namespace facet
