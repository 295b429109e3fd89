#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/finite_differences.h"

namespace facet::testing {
namespace {

Problem average_pool_problem(std::int64_t channels, const PoolOptions& options) {
  return make_problem([&](Value x) { return average_pool(front(x, channels), options); }, {.height = 7, .width = 8});
}

}  // namespace

TEST_CASE("average_pool: gradients against finite differences") {
  SUBCASE("2") { check_gradients(average_pool_problem(16, {})); }
  SUBCASE("3, stride 2, padding counted") {
    check_gradients(average_pool_problem(5, {.kernel = 3, .stride = 2, .padding = 1, .count_include_pad = true}));
  }
  SUBCASE("3, stride 2, padding not counted") {
    check_gradients(average_pool_problem(5, {.kernel = 3, .stride = 2, .padding = 1, .count_include_pad = false}));
  }
  SUBCASE("3, stride 1: overlapping windows") { check_gradients(average_pool_problem(8, {.kernel = 3, .stride = 1})); }
}

TEST_CASE("average_pool: shapes are rounded down") {
  Graph graph;
  const Value x = graph.input({3, 9, 7});
  CHECK(average_pool(x, {.kernel = 2}).shape() == Shape{3, 4, 3});
  CHECK(average_pool(x, {.kernel = 3, .stride = 2, .padding = 1}).shape() == Shape{3, 5, 4});
  CHECK_THROWS_AS(average_pool(x, {.kernel = 8}), Error);
}

}  // namespace facet::testing
