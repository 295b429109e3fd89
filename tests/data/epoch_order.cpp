#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "facet/loader.h"

using facet::epoch_order;

TEST_CASE("an epoch's order is a permutation") {
  for (const std::int64_t count : {0, 1, 2, 3, 1000}) {
    auto order = epoch_order(count, 7, 3);
    std::sort(order.begin(), order.end());
    std::vector<std::int64_t> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), std::int64_t{0});
    CHECK(order == all);
  }
}

TEST_CASE("the order is a function of seed and epoch, and differs between them") {
  CHECK(epoch_order(100, 1, 2) == epoch_order(100, 1, 2));
  CHECK(epoch_order(100, 1, 2) != epoch_order(100, 1, 3));
  CHECK(epoch_order(100, 1, 2) != epoch_order(100, 2, 2));
  CHECK(epoch_order(100, 1, 2) != epoch_order(100, 2, 1));
}

TEST_CASE("all permutations are equally likely") {
  std::map<std::vector<std::int64_t>, int> seen;
  const int draws = 12000;
  for (int epoch = 0; epoch < draws; ++epoch) ++seen[epoch_order(4, 5, epoch)];
  CHECK(seen.size() == 24);
  // Each is drawn 500 times with a standard deviation of 22.
  for (const auto& [order, times] : seen) CHECK(std::abs(times - draws / 24) < 110);
}
