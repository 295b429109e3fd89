#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/parallel.h"
#include "facet/error.h"
#include "program/small_model.h"

// Updates that are deferred until all gradients are known: with gradient accumulation or with clipping.

namespace facet::testing {
namespace {

constexpr float rate = 0.5F;

program::ProgramOptions training(std::int64_t batch, const optim::Optimizer* rule = nullptr) {
  return {.batch = batch,
          .mode = program::Mode::training,
          .mean = {0.5F, 0.5F, 0.5F},
          .std = {0.3F, 0.3F, 0.3F},
          .seed = 3,
          .optimizer = rule};
}

/// The trainable parameters after one step of SGD on these batches.
std::vector<std::vector<float>> trained(const std::vector<const Problem*>& batches, program::ProgramOptions options) {
  const auto rule = optim::sgd();
  options.optimizer = rule.get();
  options.batch = batches[0]->batch;
  Parameters parameters = random_parameters(batches[0]->graph);
  Session session(batches[0]->graph, parameters, options);
  const base::ComputeScope scope(test_threads);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    session.program().run({.pixels = batches[i]->pixels.data(),
                           .labels = batches[i]->labels.data(),
                           .step = 1,
                           .learning_rate = rate,
                           .first_image = static_cast<std::int64_t>(i) * options.batch,
                           .batches_before = static_cast<std::int64_t>(i),
                           .update = i + 1 == batches.size()});
  }
  std::vector<std::vector<float>> values;
  for (std::size_t i = 0; i < parameters.list().size(); ++i) {
    if (parameters.list()[i].trainable) values.push_back(parameters.get(static_cast<int>(i)));
  }
  return values;
}

/// Gradients of the trainable parameters, from a program that keeps them.
std::vector<std::vector<float>> gradients(const Problem& problem) {
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters);
  session.run(problem);
  std::vector<std::vector<float>> values;
  for (const Parameter& parameter : parameters.list()) {
    if (parameter.trainable) values.push_back(session.gradient(parameter.name));
  }
  return values;
}

/// The initial values after a step of plain SGD: value - rate * scale * gradient.
std::vector<std::vector<float>> descended(const Problem& problem, const std::vector<std::vector<float>>& gradient,
                                          double scale) {
  Parameters parameters = random_parameters(problem.graph);
  std::vector<std::vector<float>> values;
  for (std::size_t i = 0; i < parameters.list().size(); ++i) {
    if (!parameters.list()[i].trainable) continue;
    values.push_back(parameters.get(static_cast<int>(i)));
    for (std::size_t j = 0; j < values.back().size(); ++j) {
      values.back()[j] -= static_cast<float>(rate * scale * gradient[values.size() - 1][j]);
    }
  }
  return values;
}

void check_equal(const std::vector<std::vector<float>>& found, const std::vector<std::vector<float>>& expected,
                 double tolerance) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(max_difference(found[i], expected[i]) <= tolerance);
  }
}

double norm_of(const std::vector<std::vector<float>>& all) {
  double sum = 0;
  for (const auto& values : all) sum += std::pow(rms(values), 2) * static_cast<double>(values.size());
  return std::sqrt(sum);
}

Problem dropout_network(std::int64_t batch) {
  Problem problem = make_problem(
      [](Value x) {
        x = relu(linear(flatten(x), {.features = 12, .name = "hidden1"}));
        x = relu(linear(dropout(x, 0.5F), {.features = 12, .name = "hidden2"}));
        return alpha_dropout(x, 0.3F);
      },
      {.batch = batch});
  return problem;
}

}  // namespace

TEST_CASE("program: gradients whose total norm exceeds clip_norm are scaled down together") {
  const Problem problem = small_model(6, false);
  const auto gradient = gradients(problem);
  const double norm = norm_of(gradient);
  for (const double share : {0.1, 0.9, 1.1}) {
    CAPTURE(share);
    program::ProgramOptions options = training(6);
    options.gradient_policy = optim::update_policy({.clip_norm = share * norm});
    const double scale = std::min(1.0, share * norm / (norm + 1e-6));
    check_equal(trained({&problem}, options), descended(problem, gradient, scale), 1e-5);
  }
}

TEST_CASE("program: deferred updates give the same bits as immediate ones") {
  const Problem problem = small_model(6);
  program::ProgramOptions options = training(6);
  const auto expected = trained({&problem}, options);
  options.gradient_policy = optim::update_policy({.clip_norm = 1e9});
  CHECK(trained({&problem}, options) == expected);
  options.gradient_policy = optim::update_policy({.accumulate = true, .clip_norm = 1e9});
  CHECK(trained({&problem}, options) == expected);
}

TEST_CASE("program: a step over several batches uses the mean of their gradients, clipped or not") {
  const Problem first = small_model(4, false, 1), second = small_model(4, false, 2);
  auto mean = gradients(first);
  const auto other = gradients(second);
  for (std::size_t i = 0; i < mean.size(); ++i) {
    for (std::size_t j = 0; j < mean[i].size(); ++j) mean[i][j] = (mean[i][j] + other[i][j]) / 2;
  }
  program::ProgramOptions options = training(4);
  options.gradient_policy = optim::update_policy({.accumulate = true});
  check_equal(trained({&first, &second}, options), descended(first, mean, 1), 1e-5);
  options.gradient_policy = optim::update_policy({.accumulate = true, .clip_norm = 0.3 * norm_of(mean)});
  check_equal(trained({&first, &second}, options), descended(first, mean, 0.3), 1e-5);
}

TEST_CASE("program: accumulating two halves of a batch equals the whole batch, dropout included") {
  const Problem whole = dropout_network(6);
  const Problem first = first_images(whole, dropout_network(3).graph, 3);
  Problem second = dropout_network(3);
  second.pixels.assign(whole.pixels.begin() + static_cast<std::ptrdiff_t>(whole.pixels.size() / 2), whole.pixels.end());
  second.labels.assign(whole.labels.begin() + 3, whole.labels.end());
  program::ProgramOptions options = training(6);
  const auto expected = trained({&whole}, options);
  options.gradient_policy = optim::update_policy({.accumulate = true});
  check_equal(trained({&first, &second}, options), expected, 1e-5);
}

TEST_CASE("program: the average follows weights, statistics and counters, step by step") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph), average(problem.graph, 9);
  const auto rule = optim::sgd();
  program::ProgramOptions options = training(4, rule.get());
  options.average = &average;
  options.average_decay = 0.75;
  Session session(problem.graph, parameters, options);
  std::vector<std::vector<float>> expected;
  for (std::int64_t step = 1; step <= 3; ++step) {
    session.run(problem, step, 0.1F);
    const auto values = snapshot(parameters);
    if (step == 1) expected = values;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const bool counter = parameters.list()[i].type == DataType::s64;
      for (std::size_t j = 0; j < values[i].size(); ++j) {
        expected[i][j] = counter ? values[i][j] : 0.75F * expected[i][j] + 0.25F * values[i][j];
      }
    }
  }
  check_equal(snapshot(average), expected, 1e-5);
  CHECK(rms_difference(average.get(0), parameters.get(0)) > 1e-4);
}

TEST_CASE("program: the average of weights that no loss reads equals the weights") {
  Problem problem = make_problem([](Value x) {
    linear(flatten(front(x, 4)), {.features = 3, .name = "unread"});
    return x;
  });
  Parameters parameters = random_parameters(problem.graph), average(problem.graph, 9);
  const auto rule = optim::sgd();
  program::ProgramOptions options = training(problem.batch, rule.get());
  options.average = &average;
  options.average_decay = 0.5;
  Session session(problem.graph, parameters, options);
  const auto before = snapshot(parameters);
  for (std::int64_t step = 1; step <= 2; ++step) {
    session.run(problem, step, 0.1F);
    for (const char* name : {"front.weight", "front.bias", "unread.weight", "unread.bias"}) {
      CAPTURE(name);
      const int index = parameters.find(name);
      CHECK(parameters.get(index) == before[static_cast<std::size_t>(index)]);
      CHECK(average.get(index) == before[static_cast<std::size_t>(index)]);
    }
  }
}

TEST_CASE("program: a non-finite norm of the gradients stops a step before any update") {
  Problem problem = make_problem([](Value x) { return linear(flatten(x), {.features = 4, .name = "hidden"}); });
  Parameters parameters = random_parameters(problem.graph);
  const auto scale = [&](const char* name, float factor) {
    std::vector<float> values = parameters.get(parameters.find(name));
    for (float& value : values) value *= factor;
    parameters.set(parameters.find(name), values);
  };
  scale("hidden.weight", 1e-25F);
  scale("hidden.bias", 1e-25F);
  scale("head.weight", 1e25F);
  const auto rule = optim::sgd();
  program::ProgramOptions options = training(problem.batch, rule.get());
  options.gradient_policy = optim::update_policy({.clip_norm = 1});
  Session session(problem.graph, parameters, options);
  const auto before = snapshot(parameters);
  CHECK_THROWS_WITH_AS(session.run(problem, 1, rate), "the gradients' norm is inf, not finite", Error);
  CHECK(snapshot(parameters) == before);
}

TEST_CASE("program: a step over several batches needs a program that accumulates gradients") {
  const Problem problem = small_model(2);
  Parameters parameters = random_parameters(problem.graph);
  const auto rule = optim::sgd();
  Session session(problem.graph, parameters, training(2, rule.get()));
  program::RunInput input{.pixels = problem.pixels.data(), .labels = problem.labels.data()};
  input.update = false;
  CHECK_THROWS_AS(session.program().run(input), Error);
  input.update = true;
  input.batches_before = 1;
  CHECK_THROWS_AS(session.program().run(input), Error);
}

}  // namespace facet::testing
