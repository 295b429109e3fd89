#include <doctest/doctest.h>

#include <cmath>

#include "facet/error.h"
#include "ops/network.h"

namespace facet::testing {
namespace {

Problem batch_norm_problem(std::int64_t channels, const BatchNormOptions& options = {},
                           const ProblemOptions& sizes = {}) {
  return make_problem([&](Value x) { return batch_norm(front(x, channels), options); }, sizes);
}

constexpr std::int64_t side = 4;  ///< of the image whose statistics this file computes

}  // namespace

TEST_CASE("batch_norm: gradients against finite differences") {
  SUBCASE("16 channels") { check_gradients(batch_norm_problem(16)); }
  SUBCASE("odd channels") { check_gradients(batch_norm_problem(3)); }
  SUBCASE("large eps") { check_gradients(batch_norm_problem(8, {.eps = 0.5F})); }
  SUBCASE("one image") { check_gradients(batch_norm_problem(8, {}, {.batch = 1})); }
  SUBCASE("with ReLU") {
    const auto body = [](Value x) { return relu(batch_norm(front(x, 4, 1))); };
    check_gradients(make_problem(body, {.colours = 5, .seed = 3}), {.step = 0.005});
  }
  SUBCASE("with add and ReLU") {
    const auto body = [](Value x) {
      x = front(x, 4, 1);
      return relu(add(batch_norm(x), x));
    };
    check_gradients(make_problem(body, {.colours = 5, .seed = 4}), {.step = 0.005});
  }
}

TEST_CASE("batch_norm with max_pool: gradients against finite differences") {
  const auto check = [](const Body& body, const ProblemOptions& sizes) {
    check_gradients(make_problem([&](Value x) { return body(batch_norm(front(x, 4, 1))); }, sizes), {.step = 0.005});
  };
  const ProblemOptions even{.height = 8, .width = 8, .colours = 6, .seed = 1};
  const ProblemOptions odd{.height = 7, .width = 5, .colours = 6, .seed = 3};
  SUBCASE("no activation") {
    check([](Value x) { return max_pool(x, {}); }, even);
  }
  SUBCASE("ReLU") {
    check([](Value x) { return max_pool(relu(x), {}); }, even);
  }
  SUBCASE("ReLU, odd size") {
    check([](Value x) { return max_pool(relu(x), {}); }, odd);
  }
  SUBCASE("ReLU, overlapping and padded windows") {
    check([](Value x) { return max_pool(relu(x), {.kernel = 3, .stride = 2, .padding = 1}); }, odd);
  }
  SUBCASE("ReLU6") {
    check([](Value x) { return max_pool(relu6(x), {.kernel = 3, .stride = 1}); }, even);
  }
}

TEST_CASE("batch_norm: running statistics follow momentum, with the unbiased variance") {
  const std::int64_t batch = 2, pixels = batch * side * side;
  const Problem problem = make_problem([](Value x) { return batch_norm(x, {.momentum = 0.25F}); },
                                       {.height = side, .width = side, .batch = batch});
  Parameters parameters(problem.graph, 1);
  const auto optimizer = optim::adam();
  Session session(problem.graph, parameters,
                  {.batch = batch, .mode = program::Mode::training, .optimizer = optimizer.get()});
  const int mean = parameters.find("bn.running_mean"), variance = parameters.find("bn.running_var");
  const int tracked = parameters.find("bn.num_batches_tracked");

  std::vector<double> expected_mean(3, 0), expected_variance(3, 1);
  for (int step = 1; step <= 3; ++step) {
    session.run(problem, step, 0);
    CHECK(parameters.get_counter(tracked) == step);
    for (std::size_t c = 0; c < 3; ++c) {
      double sum = 0, squares = 0;
      for (std::size_t i = c; i < problem.pixels.size(); i += 3) {
        const double value = problem.pixels[i] / 255.0;
        sum += value;
        squares += value * value;
      }
      const double average = sum / static_cast<double>(pixels);
      const double unbiased =
          (squares - static_cast<double>(pixels) * average * average) / static_cast<double>(pixels - 1);
      expected_mean[c] += 0.25 * (average - expected_mean[c]);
      expected_variance[c] += 0.25 * (unbiased - expected_variance[c]);
      CHECK(parameters.get(mean)[c] == doctest::Approx(expected_mean[c]).epsilon(1e-5));
      CHECK(parameters.get(variance)[c] == doctest::Approx(expected_variance[c]).epsilon(1e-5));
    }
  }
}

TEST_CASE("batch_norm: inference uses and keeps the running statistics") {
  const Problem problem = batch_norm_problem(8);
  Parameters parameters = random_parameters(problem.graph);
  Session session = inference_session(problem, parameters);
  session.run(problem);
  const std::vector<float> before = session.logits();
  const auto kept = snapshot(parameters);
  const int variance = parameters.find("bn.running_var");
  std::vector<float> values = parameters.get(variance);
  for (float& value : values) value *= 4;
  parameters.set(variance, values);
  session.run(problem);
  CHECK(max_difference(before, session.logits()) > 1e-3);
  parameters.set(variance, kept[static_cast<std::size_t>(variance)]);
  session.run(problem);
  CHECK(max_difference(before, session.logits()) == 0);
  CHECK(snapshot(parameters) == kept);
}

TEST_CASE("batch_norm: training on one value per channel is refused, inference is not") {
  const auto one_by_one = [](std::int64_t batch) {
    const auto body = [](Value x) { return batch_norm(global_average_pool(front(x, 4)), {.name = "last"}); };
    return make_problem(body, {.batch = batch});
  };
  const Problem one = one_by_one(1);
  Parameters parameters(one.graph, 1);
  CHECK_THROWS_WITH_AS(gradient_session(one, parameters),
                       doctest::Contains("last (batch_norm), in f32: 1 value per channel"), Error);
  CHECK_NOTHROW(inference_session(one, parameters).run(one));
  const Problem two = one_by_one(2);
  CHECK_NOTHROW(gradient_session(two, parameters).run(two));
}

TEST_CASE("batch_norm: a refused call leaves the graph unchanged, and the corrected call works") {
  Graph graph;
  const Value x = graph.input({3, 4, 4});
  CHECK_THROWS_WITH_AS(batch_norm(flatten(x)), doctest::Contains("bn"), Error);
  CHECK(graph.parameters().empty());
  CHECK(batch_norm(x).shape() == Shape{3, 4, 4});
}

}  // namespace facet::testing
