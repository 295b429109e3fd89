#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/finite_differences.h"

namespace facet::testing {

TEST_CASE("concat: gradients against finite differences") {
  SUBCASE("multiples of 16 channels") {
    check_gradients(make_problem([](Value x) {
      x = front(x, 16);
      return concat({x, convolution(x, {.channels = 32})});
    }));
  }
  SUBCASE("odd channels, three values") {
    check_gradients(make_problem([](Value x) {
      x = front(x, 3);
      return concat({convolution(x, {.channels = 5, .name = "a"}), x, convolution(x, {.channels = 2, .name = "b"})});
    }));
  }
  SUBCASE("with itself") {
    check_gradients(make_problem([](Value x) {
      x = front(x, 8);
      return concat({x, x});
    }));
  }
}

TEST_CASE("concat: shapes") {
  Graph graph;
  const Value x = graph.input({3, 6, 6});
  CHECK(concat({x, front(x, 8), x}).shape() == Shape{14, 6, 6});
  CHECK_THROWS_AS(concat({x, max_pool(x, {})}), Error);
}

}  // namespace facet::testing
