#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/network.h"

namespace facet::testing {
namespace {

Problem convolution_problem(std::int64_t channels, const ConvolutionOptions& options,
                            const ProblemOptions& sizes = {}) {
  return make_problem([&](Value x) { return convolution(channels > 0 ? front(x, channels) : x, options); }, sizes);
}

std::string refusal(const Shape& input, const ConvolutionOptions& options) {
  Graph graph;
  try {
    convolution(graph.input(input), options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("convolution: gradients against finite differences") {
  SUBCASE("1x1") { check_gradients(convolution_problem(5, {.channels = 6, .kernel = 1})); }
  SUBCASE("3x3") { check_gradients(convolution_problem(16, {.channels = 16})); }
  SUBCASE("3x3 with bias, odd channels") { check_gradients(convolution_problem(3, {.channels = 7, .bias = true})); }
  SUBCASE("3x3, stride 2") { check_gradients(convolution_problem(4, {.channels = 16, .stride = 2})); }
  SUBCASE("3x3, unpadded") { check_gradients(convolution_problem(4, {.channels = 8, .padding = 0})); }
  SUBCASE("5x5, stride 3") { check_gradients(convolution_problem(4, {.channels = 8, .kernel = 5, .stride = 3})); }
  SUBCASE("7x7, stride 2, of the image") {
    check_gradients(convolution_problem(0, {.channels = 16, .kernel = 7, .stride = 2}, {.height = 12, .width = 11}));
  }
  SUBCASE("groups") { check_gradients(convolution_problem(8, {.channels = 12, .groups = 4, .bias = true})); }
  SUBCASE("depthwise") { check_gradients(convolution_problem(16, {.channels = 16, .groups = 16})); }
  SUBCASE("depthwise, odd channels, stride 2") {
    check_gradients(convolution_problem(5, {.channels = 5, .stride = 2, .groups = 5, .bias = true}));
  }
  SUBCASE("one image") { check_gradients(convolution_problem(8, {.channels = 8}, {.batch = 1})); }
}

TEST_CASE("convolution: shapes") {
  Graph graph;
  const Value x = graph.input({3, 224, 223});
  CHECK(convolution(x, {.channels = 64, .kernel = 7, .stride = 2, .name = "a"}).shape() == Shape{64, 112, 112});
  CHECK(convolution(x, {.channels = 64, .kernel = 11, .stride = 4, .padding = 2, .name = "b"}).shape() ==
        Shape{64, 55, 55});
  CHECK(convolution(x, {.channels = 6, .kernel = 2, .padding = 0, .groups = 3, .name = "c"}).shape() ==
        Shape{6, 223, 222});
  CHECK(graph.parameters().at(0).name == "a.weight");
  CHECK(graph.parameters().at(0).shape == Shape{64, 3, 7, 7});
  CHECK(graph.parameters().at(2).shape == Shape{6, 1, 2, 2});
}

TEST_CASE("convolution: invalid options are refused by name") {
  CHECK(refusal({3, 8, 8}, {.channels = 8, .groups = 2}).find("conv") != std::string::npos);
  CHECK(refusal({3, 8, 8}, {.channels = 8, .groups = 3}) != "");
  CHECK(refusal({3, 8, 8}, {.channels = 0}) != "");
  CHECK(refusal({3, 2, 8}, {.channels = 8, .kernel = 3, .padding = 0}) != "");
  CHECK(refusal({3, 8, 8}, {.channels = 8, .stride = 0}) != "");
  CHECK(refusal({3, 8, 8}, {.channels = 8, .groups = 0}) != "");
  CHECK(refusal({3, 8, 8}, {.channels = 8, .padding = -5}).find("-5") != std::string::npos);
}

TEST_CASE("convolution: a refused call leaves the graph unchanged, and the corrected call works") {
  Graph graph;
  const Value x = graph.input({3, 8, 8});
  CHECK_THROWS_AS(convolution(x, {.channels = 8, .kernel = 0, .bias = true}), Error);
  CHECK(graph.nodes().size() == 1);
  CHECK(graph.parameters().empty());
  convolution(x, {.channels = 8, .bias = true});
  CHECK(graph.nodes().back().name == "conv");
  CHECK_THROWS_WITH_AS(convolution(x, {.channels = 8}), doctest::Contains("conv.weight"), Error);
  CHECK(graph.nodes().size() == 2);
  CHECK(graph.parameters().size() == 2);
}

TEST_CASE("convolution: weight and bias can each be frozen alone") {
  const Problem problem =
      make_problem([](Value x) { return convolution(front(x, 8), {.channels = 8, .bias = true, .name = "layer"}); });
  check_frozen(problem, "layer.weight", "layer.bias");
  check_frozen(problem, "layer.bias", "layer.weight");
}

}  // namespace facet::testing
