#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/network.h"

namespace facet::testing {

TEST_CASE("linear: gradients against finite differences") {
  SUBCASE("one layer") {
    check_gradients(make_problem([](Value x) { return linear(flatten(front(x, 16)), {.features = 12}); }));
  }
  SUBCASE("without bias") {
    check_gradients(make_problem([](Value x) { return linear(flatten(front(x, 3)), {.features = 7, .bias = false}); }));
  }
  SUBCASE("one feature") {
    check_gradients(make_problem([](Value x) { return linear(flatten(front(x, 3)), {.features = 1}); }));
  }
  SUBCASE("of the image") {
    check_gradients(make_problem([](Value x) { return linear(flatten(x), {.features = 6}); }));
  }
  SUBCASE("one image") {
    check_gradients(make_problem([](Value x) { return linear(flatten(front(x, 4)), {.features = 6}); }, {.batch = 1}));
  }
  SUBCASE("two after another") {
    check_gradients(make_problem([](Value x) {
      return linear(linear(flatten(front(x, 4)), {.features = 16, .name = "a"}), {.features = 5, .name = "b"});
    }));
  }
  SUBCASE("three layers that read one value, each with a head") {
    Problem problem = make_problem([](Value x) {
      x = flatten(front(x, 16));
      add_linear_head(linear(x, {.features = 8, .name = "a"}), 9, "age");
      add_linear_head(linear(x, {.features = 6, .name = "g"}), 2, "gender");
      return linear(x, {.features = 8, .name = "r"});
    });
    check_gradients(problem);
  }
}

TEST_CASE("linear: shapes and names") {
  Graph graph;
  const Value x = flatten(graph.input({3, 4, 4}));
  CHECK(linear(x, {.features = 7}).shape() == Shape{7});
  CHECK(graph.parameters().at(0).name == "linear.weight");
  CHECK(graph.parameters().at(0).shape == Shape{7, 48});
  CHECK(graph.parameters().at(1).name == "linear.bias");
}

TEST_CASE("linear: a refused call leaves the graph unchanged, and the corrected call works") {
  Graph graph;
  const Value x = graph.input({3, 4, 4});
  CHECK_THROWS_WITH_AS(linear(x, {.features = 7}), doctest::Contains("linear"), Error);
  const Value vector = flatten(x);
  CHECK_THROWS_WITH_AS(linear(vector, {.features = 0}), doctest::Contains("linear"), Error);
  CHECK(graph.nodes().size() == 2);
  CHECK(graph.parameters().empty());
  linear(vector, {.features = 7});
  CHECK_THROWS_WITH_AS(linear(vector, {.features = 7}), doctest::Contains("linear.weight"), Error);
  CHECK(graph.nodes().size() == 3);
}

TEST_CASE("linear: weight and bias can each be frozen alone") {
  const Problem problem =
      make_problem([](Value x) { return linear(flatten(front(x, 4)), {.features = 8, .name = "layer"}); });
  check_frozen(problem, "layer.weight", "layer.bias");
  check_frozen(problem, "layer.bias", "layer.weight");
}

}  // namespace facet::testing
