#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/network.h"

namespace facet::testing {

TEST_CASE("add: gradients against finite differences") {
  SUBCASE("two convolutions of one value") {
    check_gradients(make_problem([](Value x) {
      x = front(x, 8);
      return add(convolution(x, {.channels = 16, .name = "a"}),
                 convolution(x, {.channels = 16, .kernel = 1, .name = "b"}));
    }));
  }
  SUBCASE("residual: one value, two readers") {
    check_gradients(make_problem([](Value x) {
      x = front(x, 16);
      return add(batch_norm(convolution(x, {.channels = 16})), x);
    }));
  }
  SUBCASE("residual, operands swapped") {
    check_gradients(make_problem([](Value x) {
      x = front(x, 5);
      return add(x, batch_norm(convolution(x, {.channels = 5})));
    }));
  }
  SUBCASE("to itself") {
    check_gradients(make_problem([](Value x) {
      x = front(x, 8);
      return add(x, x);
    }));
  }
  SUBCASE("four readers of one value") {
    check_gradients(make_problem([](Value x) {
      x = front(x, 8);
      const Value y = add(convolution(x, {.channels = 8, .name = "a"}), convolution(x, {.channels = 8, .name = "b"}));
      return add(add(y, x), convolution(x, {.channels = 8, .kernel = 1, .name = "c"}));
    }));
  }
  SUBCASE("with ReLU") {
    check_gradients(make_problem(
                        [](Value x) {
                          x = front(x, 4, 1);
                          return relu(add(convolution(x, {.channels = 4, .kernel = 1}), x));
                        },
                        {.colours = 5, .seed = 2}),
                    {.step = 0.005});
  }
  SUBCASE("vectors") {
    check_gradients(make_problem([](Value x) {
      x = flatten(front(x, 4));
      return add(linear(x, {.features = 9, .name = "a"}), linear(x, {.features = 9, .name = "b"}));
    }));
  }
}

TEST_CASE("add: unequal shapes are refused, and the error names both") {
  Graph graph;
  const Value x = graph.input({3, 5, 7});
  CHECK_THROWS_WITH_AS(add(x, flatten(x)), doctest::Contains("3x5x7"), Error);
  CHECK_THROWS_WITH_AS(add(x, flatten(x)), doctest::Contains("105"), Error);
}

}  // namespace facet::testing
