#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/finite_differences.h"

namespace facet::testing {

TEST_CASE("linear: gradients against finite differences") {
  SUBCASE("one") {
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
  SUBCASE("three of one value, a head each") {
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
  CHECK_THROWS_AS(linear(x, {.features = 0, .name = "none"}), Error);
}

}  // namespace facet::testing
