#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/finite_differences.h"

namespace facet::testing {
namespace {

Problem adaptive_problem(std::int64_t channels, const AdaptivePoolOptions& options) {
  return make_problem([&](Value x) { return adaptive_average_pool(front(x, channels), options); },
                      {.height = 7, .width = 8});
}

}  // namespace

TEST_CASE("adaptive_average_pool: gradients against finite differences") {
  SUBCASE("smaller") { check_gradients(adaptive_problem(16, {.height = 3, .width = 4})); }
  SUBCASE("larger") { check_gradients(adaptive_problem(5, {.height = 9, .width = 11})); }
  SUBCASE("smaller and larger") { check_gradients(adaptive_problem(8, {.height = 2, .width = 12})); }
  SUBCASE("as it is") { check_gradients(adaptive_problem(8, {.height = 7, .width = 8})); }
}

TEST_CASE("adaptive_average_pool: shapes; equal extents need no step") {
  Graph graph;
  const Value x = graph.input({3, 9, 7});
  CHECK(adaptive_average_pool(x, {.height = 6, .width = 6}).shape() == Shape{3, 6, 6});
  CHECK(adaptive_average_pool(x, {.height = 20, .width = 1}).shape() == Shape{3, 20, 1});
  CHECK_THROWS_WITH_AS(adaptive_average_pool(x, {.height = 0, .width = 6}), doctest::Contains("0x6"), Error);

  const Problem problem = adaptive_problem(8, {.height = 7, .width = 8});
  Parameters parameters = random_parameters(problem.graph);
  const Session session = gradient_session(problem, parameters);
  for (const program::StepInfo& step : session.program().steps()) {
    CHECK_MESSAGE(step.name.find("adaptive_average_pool") == std::string::npos, step.name);
  }
}

}  // namespace facet::testing
