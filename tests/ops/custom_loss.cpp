#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "facet/error.h"
#include "ops/network.h"

namespace facet::testing {
namespace {

/// Softmax and cross-entropy against class indices, averaged over the labelled images, in the terms of a caller.
double own_cross_entropy(const LossInput& input, std::span<float> gradient) {
  const auto labelled = static_cast<double>(std::ranges::count_if(input.labels, [](int label) { return label >= 0; }));
  const auto outputs = static_cast<std::size_t>(input.outputs);
  double loss = 0;
  for (std::size_t n = 0; n < input.labels.size(); ++n) {
    if (input.labels[n] < 0) continue;
    const std::span<const float> logits = input.logits.subspan(n * outputs, outputs);
    const auto label = static_cast<std::size_t>(input.labels[n]);
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
    loss += (std::log(sum) - logits[label]) / labelled;
    for (std::size_t c = 0; !gradient.empty() && c < outputs; ++c) {
      const double probability = std::exp(static_cast<double>(logits[c])) / sum;
      gradient[n * outputs + c] = static_cast<float>((probability - (c == label ? 1 : 0)) / labelled);
    }
  }
  return loss;
}

/// One head with a loss of the caller's own.
Problem with_custom(const LossFunction& function) {
  Problem problem;
  problem.batch = 5;
  const Value x = flatten(front(problem.graph.input({3, 6, 7}), 8));
  custom_loss(linear(x, {.features = 4, .name = "head"}), "head", function);
  problem.pixels = random_pixels(5 * 6 * 7, 1);
  problem.labels = random_labels(problem.graph, 5, 1);
  return problem;
}

}  // namespace

TEST_CASE("custom_loss: gradients against finite differences") {
  Problem problem = with_custom(own_cross_entropy);
  problem.labels[2] = -1;
  check_gradients(problem);
}

TEST_CASE("custom_loss: a function that computes softmax_cross_entropy trains as softmax_cross_entropy does") {
  const Problem own = with_custom(own_cross_entropy);
  Problem built_in;
  built_in.batch = own.batch;
  add_linear_head(front(built_in.graph.input({3, 6, 7}), 8), 4, "head");
  built_in.pixels = own.pixels;
  built_in.labels = own.labels;
  built_in.labels[3] = -1;
  Problem masked = own;
  masked.labels[3] = -1;
  Parameters own_parameters = random_parameters(own.graph), parameters = random_parameters(built_in.graph);
  program::ProgramOptions options{.batch = own.batch, .mode = program::Mode::gradients, .losses = {{.weight = 0.5}}};
  Session own_session(own.graph, own_parameters, options), session(built_in.graph, parameters, options);
  CHECK(own_session.run(masked) == doctest::Approx(session.run(built_in)).epsilon(1e-6));
  CHECK(own_session.program().heads()[0].sums.labelled == 4);
  for (const Parameter& parameter : parameters.list()) {
    CAPTURE(parameter.name);
    const std::vector<float> expected = session.gradient(parameter.name);
    CHECK(rms(expected) > 0);
    CHECK(max_difference(own_session.gradient(parameter.name), expected) <= 1e-6);
  }
}

TEST_CASE("custom_loss: what the function is given, and when it is called") {
  int calls = 0;
  LossInput seen;
  std::size_t gradient_size = 0;
  Problem problem = with_custom([&](const LossInput& input, std::span<float> gradient) {
    ++calls;
    seen = input;
    gradient_size = gradient.size();
    CHECK(std::ranges::all_of(gradient, [](float value) { return value == 0; }));
    return 1.5;
  });
  problem.targets = {std::vector<float>(20, 0.25F)};
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters);
  CHECK(session.run(problem) == doctest::Approx(1.5));
  CHECK(calls == 1);
  CHECK(seen.images == 5);
  CHECK(seen.outputs == 4);
  CHECK(seen.logits.data() == session.program().heads()[0].logits.data());
  CHECK(seen.labels.size() == 5);
  CHECK(std::ranges::equal(seen.targets, problem.targets[0]));
  CHECK(gradient_size == 20);
  CHECK(rms(session.gradient("front.weight")) == 0);

  std::ranges::fill(problem.labels, -1);
  std::ranges::fill(problem.targets[0], quiet_nan);
  CHECK(session.run(problem) == 0);
  CHECK(calls == 1);
  problem.targets[0][7] = 2;
  session.run(problem);
  CHECK(calls == 2);
  CHECK(session.program().heads()[0].sums.labelled == 1);
  problem.targets.clear();
  problem.labels[0] = 1;
  session.run(problem);
  CHECK(calls == 3);
  CHECK(seen.targets.empty());

  Session inference = inference_session(problem, parameters);
  inference.run(problem);
  CHECK(calls == 3);
  CHECK(inference.program().heads()[0].sums.loss == 0);
  CHECK(std::ranges::equal(inference.program().heads()[0].probabilities, inference.logits()));
}

TEST_CASE("custom_loss: an exception of the function ends the step before any parameter has changed") {
  bool fails = false;
  const Problem problem = with_custom([&](const LossInput& input, std::span<float> gradient) -> double {
    if (fails) throw std::runtime_error("no loss today");
    return own_cross_entropy(input, gradient);
  });
  Parameters parameters = random_parameters(problem.graph);
  const auto optimizer = optim::adam();
  Session session(problem.graph, parameters,
                  {.batch = problem.batch, .mode = program::Mode::training, .optimizer = optimizer.get()});
  session.run(problem, 1, 1e-2F);
  const auto before = snapshot(parameters);
  fails = true;
  CHECK_THROWS_WITH_AS(session.run(problem, 2, 1e-2F), "no loss today", std::runtime_error);
  CHECK(snapshot(parameters) == before);
  fails = false;
  session.run(problem, 2, 1e-2F);
  CHECK(snapshot(parameters) != before);
}

TEST_CASE("custom_loss: a non-finite loss is an error that names the head") {
  const Problem problem =
      with_custom([](const LossInput&, std::span<float>) { return std::numeric_limits<double>::infinity(); });
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters);
  try {
    session.run(problem);
    FAIL("an infinite loss is accepted");
  } catch (const Error& error) {
    CHECK(std::string(error.what()) == "head 'head': the loss is inf, not finite");
    CHECK(error.code() == ErrorCode::non_finite);
  }
}

}  // namespace facet::testing
