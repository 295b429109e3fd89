#include <doctest/doctest.h>

#include "ops/finite_differences.h"

namespace facet::testing {

// A front of 1x1 over five colours makes 20 values, each farther from 0 than the parameters' moves bring it.

TEST_CASE("relu: gradients against finite differences") {
  SUBCASE("of a convolution") {
    check_gradients(make_problem([](Value x) { return relu(front(x, 4, 1)); }, {.colours = 5, .seed = 2}),
                    {.step = 0.005});
  }
  SUBCASE("of a value that others read too") {
    const auto body = [](Value x) {
      x = front(x, 4, 1);
      return add(relu(x), x);
    };
    check_gradients(make_problem(body, {.colours = 5, .seed = 2}), {.step = 0.005});
  }
  SUBCASE("of a linear layer") {
    const auto body = [](Value x) { return relu(linear(flatten(front(x, 4)), {.features = 6})); };
    check_gradients(make_problem(body, {.seed = 5}), {.step = 0.005});
  }
}

TEST_CASE("relu: shapes stay") {
  Graph graph;
  const Value x = graph.input({3, 5, 7});
  CHECK(relu(x).shape() == Shape{3, 5, 7});
  CHECK(relu(flatten(x)).shape() == Shape{105});
}

}  // namespace facet::testing
