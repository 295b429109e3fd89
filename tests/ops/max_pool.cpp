#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/finite_differences.h"

namespace facet::testing {
namespace {

/// A front of 1x1 over a few colours: equal pixels of a window move alike, unequal ones are far apart.
Problem max_pool_problem(std::int64_t channels, const PoolOptions& options, const ProblemOptions& sizes) {
  return make_problem([&](Value x) { return max_pool(front(x, channels, 1), options); }, sizes);
}

}  // namespace

TEST_CASE("max_pool: gradients against finite differences") {
  const DifferenceOptions small{.step = 0.005};
  SUBCASE("2") { check_gradients(max_pool_problem(4, {}, {.height = 8, .width = 8, .colours = 6, .seed = 1}), small); }
  SUBCASE("2, odd size") {
    check_gradients(max_pool_problem(4, {}, {.height = 7, .width = 5, .colours = 6, .seed = 1}), small);
  }
  SUBCASE("3, stride 2, padded") {
    check_gradients(max_pool_problem(4, {.kernel = 3, .stride = 2, .padding = 1},
                                     {.height = 7, .width = 8, .colours = 6, .seed = 1}),
                    small);
  }
  SUBCASE("3, stride 1: overlapping windows") {
    check_gradients(max_pool_problem(4, {.kernel = 3, .stride = 1}, {.height = 6, .width = 6, .colours = 6, .seed = 1}),
                    small);
  }
}

TEST_CASE("max_pool: shapes are rounded down") {
  Graph graph;
  const Value x = graph.input({3, 112, 7});
  CHECK(max_pool(x, {.kernel = 2}).shape() == Shape{3, 56, 3});
  CHECK(max_pool(x, {.kernel = 3, .stride = 2, .padding = 1}).shape() == Shape{3, 56, 4});
  CHECK_THROWS_AS(max_pool(x, {.kernel = 8}), Error);
  CHECK_THROWS_WITH_AS(max_pool(x, {.kernel = 2, .stride = -2}), doctest::Contains("-2"), Error);
  CHECK_THROWS_WITH_AS(max_pool(x, {.kernel = 2, .padding = -1}), doctest::Contains("-1"), Error);
  CHECK_THROWS_AS(max_pool(flatten(x), {.kernel = 2}), Error);
}

}  // namespace facet::testing
