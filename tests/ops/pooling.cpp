#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/network.h"

namespace facet::testing {
namespace {

/// A `front` of kernel 1 on a few colours: equal pixels of a window change equally, unequal ones are far apart.
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
  SUBCASE("equal") { check_gradients(adaptive_problem(8, {.height = 7, .width = 8})); }
}

TEST_CASE("adaptive_average_pool: shapes; equal extents need no instruction") {
  Graph graph;
  const Value x = graph.input({3, 9, 7});
  CHECK(adaptive_average_pool(x, {.height = 6, .width = 6}).shape() == Shape{3, 6, 6});
  CHECK(adaptive_average_pool(x, {.height = 20, .width = 1}).shape() == Shape{3, 20, 1});
  CHECK_THROWS_WITH_AS(adaptive_average_pool(x, {.height = 0, .width = 6}), doctest::Contains("0x6"), Error);

  const Problem problem = adaptive_problem(8, {.height = 7, .width = 8});
  Parameters parameters = random_parameters(problem.graph);
  const Session session = gradient_session(problem, parameters);
  for (const program::InstructionInfo& instruction : session.program().instructions()) {
    CHECK_MESSAGE(instruction.name.find("adaptive_average_pool") == std::string::npos, instruction.name);
  }
}

}  // namespace facet::testing
