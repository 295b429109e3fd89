#include <doctest/doctest.h>

#include <algorithm>

#include "ops/network.h"

namespace facet::testing {

// A `front` of kernel 1 on five colours gives 20 values, each farther from 0 than the differences' steps move it.

TEST_CASE("relu: gradients against finite differences") {
  SUBCASE("of a convolution") {
    check_gradients(make_problem([](Value x) { return relu(front(x, 4, 1)); }, {.colours = 5, .seed = 2}),
                    {.step = 0.005});
  }
  SUBCASE("of a value with another reader") {
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

TEST_CASE("relu: keeps the shape") {
  Graph graph;
  const Value x = graph.input({3, 5, 7});
  CHECK(relu(x).shape() == Shape{3, 5, 7});
  CHECK(relu(flatten(x)).shape() == Shape{105});
}

}  // namespace facet::testing

namespace facet::testing {
namespace {

/// The logits of a network that scales the pixels of one image to [-8, 8] and applies relu6.
std::vector<float> clipped(const std::vector<std::uint8_t>& pixels) {
  Problem problem;
  Value x = flatten(relu6(problem.graph.input({3, 1, static_cast<std::int64_t>(pixels.size() / 3)})));
  add_linear_head(x, x.channels(), "head");
  problem.batch = 1;
  problem.pixels = pixels;
  Parameters parameters(problem.graph, 1);
  make_identity(parameters, "head");
  Session session(problem.graph, parameters,
                  {.batch = 1, .mean = {0.5F, 0.5F, 0.5F}, .std = {0.0625F, 0.0625F, 0.0625F}});
  session.run(problem);
  return session.logits();
}

}  // namespace

TEST_CASE("relu6: clips below 0 and above 6") {
  std::vector<std::uint8_t> pixels;
  for (int value = 0; value < 255; value += 17) pixels.push_back(static_cast<std::uint8_t>(value));
  const std::vector<float> values = clipped(pixels);
  const std::size_t width = pixels.size() / 3;
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const double scaled = (pixels[i] / 255.0 - 0.5) * 16;
    CHECK(values[(i % 3) * width + i / 3] == doctest::Approx(std::clamp(scaled, 0.0, 6.0)).epsilon(1e-5));
  }
}

TEST_CASE("relu6: gradients against finite differences, some values below 0, some above 6") {
  const Problem problem = make_problem([](Value x) { return relu6(front(x, 6, 1)); }, {.colours = 5, .seed = 6});
  Parameters parameters = random_parameters(problem.graph);
  const int weight = parameters.find("front.weight");
  std::vector<float> values = parameters.get(weight);
  for (float& value : values) value *= 10;
  parameters.set(weight, values);
  check_gradients(problem, parameters, {.step = 0.005});
}

}  // namespace facet::testing
