#include <doctest/doctest.h>

#include "ops/network.h"

namespace facet::testing {

TEST_CASE("flatten: gradients against finite differences") {
  SUBCASE("of blocked channels") {
    check_gradients(make_problem([](Value x) { return flatten(front(x, 32)); }));
  }
  SUBCASE("of odd channels") {
    check_gradients(make_problem([](Value x) { return flatten(front(x, 5)); }));
  }
  SUBCASE("two readers") {
    check_gradients(make_problem([](Value x) {
      x = flatten(front(x, 16));
      return add(linear(x, {.features = 5, .name = "a"}), linear(x, {.features = 5, .name = "b"}));
    }));
  }
}

TEST_CASE("flatten: features are ordered by channel, then by row") {
  Problem problem;
  Value x = flatten(problem.graph.input({3, 2, 4}));
  CHECK(x.shape() == Shape{24});
  add_linear_head(x, 24, "head");
  problem.batch = 1;
  problem.pixels = random_pixels(8, 1);
  Parameters parameters(problem.graph, 1);
  make_identity(parameters, "head");
  Session session(problem.graph, parameters, {.batch = 1});
  session.run(problem);
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t i = 0; i < 8; ++i)
      CHECK(session.logits()[c * 8 + i] == doctest::Approx(problem.pixels[i * 3 + c] / 255.0).epsilon(1e-6));
}

}  // namespace facet::testing
