#include "base/median.h"

#include <doctest/doctest.h>

#include <stdexcept>

using facet::base::median;

TEST_CASE("median: the value in the middle, or the midpoint of two") {
  CHECK(median({3}) == 3);
  CHECK(median({5, 1, 9}) == 5);
  CHECK(median({4, 1, 2, 100}) == 3);
  CHECK_THROWS_AS(median({}), std::out_of_range);
}
