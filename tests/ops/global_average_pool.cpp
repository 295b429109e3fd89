#include <doctest/doctest.h>

#include "ops/finite_differences.h"

namespace facet::testing {

TEST_CASE("global_average_pool: gradients against finite differences") {
  SUBCASE("16 channels") {
    check_gradients(make_problem([](Value x) { return global_average_pool(front(x, 16)); }));
  }
  SUBCASE("odd channels") {
    check_gradients(make_problem([](Value x) { return global_average_pool(front(x, 5)); }));
  }
  SUBCASE("before a convolution") {
    check_gradients(make_problem(
        [](Value x) { return convolution(global_average_pool(front(x, 8)), {.channels = 4, .kernel = 1}); }));
  }
}

TEST_CASE("global_average_pool: shape") {
  Graph graph;
  CHECK(global_average_pool(graph.input({3, 9, 7})).shape() == Shape{3, 1, 1});
}

}  // namespace facet::testing
