#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>

#include "facet/error.h"
#include "program/parameter_store.h"
#include "program/small_model.h"

namespace facet::testing {
namespace {

bool same_bits(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i].size() != b[i].size() || std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0)
      return false;
  return true;
}

void set_first(Parameters& parameters, const std::string& name, float value) {
  const int index = parameters.find(name);
  std::vector<float> values = parameters.get(index);
  values[0] = value;
  parameters.set(index, values);
}

/// Makes a head's logits infinite, though all weights are finite.
void diverge(Parameters& parameters, const std::string& head) {
  const int index = parameters.find(head + ".weight");
  parameters.set(index, std::vector<float>(parameters.get(index).size(), 3e38F));
}

/// Writes a weight's first element directly, as an update does, without the checks of Parameters::set.
void set_first_unchecked(Parameters& parameters, const std::string& name, float value) {
  const int index = parameters.find(name);
  *parameters.state().value(index) = value;
}

/// Values of the trained parameters, without the running statistics, which the forward pass updates.
std::vector<std::vector<float>> trained(const Parameters& parameters) {
  std::vector<std::vector<float>> values;
  for (std::size_t i = 0; i < parameters.list().size(); ++i)
    if (parameters.list()[i].trainable) values.push_back(parameters.get(static_cast<int>(i)));
  return values;
}

}  // namespace

TEST_CASE("program: a non-finite loss names its head and changes no parameter") {
  const Problem problem = small_model(4);
  for (const char* head : {"first", "second"}) {
    CAPTURE(head);
    Parameters parameters = random_parameters(problem.graph);
    TrainingSession training(problem, parameters);
    training.step(problem, 1);
    diverge(parameters, head);
    const auto before = trained(parameters);
    const std::string message = fmt::format("head '{}': the loss is", head);
    CHECK_THROWS_WITH_AS(training.step(problem, 2), doctest::Contains(message.c_str()), Error);
    CHECK(same_bits(before, trained(parameters)));
  }
}

TEST_CASE("program: after a non-finite loss, training continues once good parameters are set") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph), undisturbed = random_parameters(problem.graph);
  TrainingSession training(problem, parameters), other(problem, undisturbed);
  training.step(problem, 1);
  other.step(problem, 1);
  const auto good = snapshot(parameters);
  diverge(parameters, "second");
  CHECK_THROWS_AS(training.step(problem, 2), Error);
  for (std::size_t i = 0; i < good.size(); ++i) parameters.set(static_cast<int>(i), good[i]);
  training.step(problem, 2);
  other.step(problem, 2);
  CHECK(same_bits(snapshot(parameters), snapshot(undisturbed)));
}

TEST_CASE("program: an inference program uses the statistics that a step with a non-finite loss has updated") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph);
  TrainingSession training(problem, parameters);
  const program::ProgramOptions inference{.batch = 4, .mode = program::Mode::inference};
  Session old(problem.graph, parameters, inference);
  old.run(problem);
  diverge(parameters, "second");
  old.run(problem);
  CHECK_THROWS_AS(training.step(problem, 1), Error);
  old.run(problem);
  Session fresh(problem.graph, parameters, inference);
  fresh.run(problem);
  CHECK(old.logits(0) == fresh.logits(0));
}

TEST_CASE("program: the loss with a head without labels is finite") {
  Problem problem = small_model(4);
  std::fill(problem.labels.begin(), problem.labels.begin() + 4, -1);
  Parameters parameters = random_parameters(problem.graph);
  TrainingSession training(problem, parameters);
  CHECK(training.step(problem, 1) > 0);
}

TEST_CASE("program: a parameter that was set to a non-finite value stops the next step before anything changes") {
  const Problem problem = with_frozen(small_model(4), "residual.conv1.weight");
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const char* name : {"first.bias", "stem.conv.weight", "residual.conv1.weight", "stem.bn.running_mean"}) {
      CAPTURE(value);
      CAPTURE(name);
      Parameters parameters = random_parameters(problem.graph);
      TrainingSession training(problem, parameters);
      Session gradients = gradient_session(problem, parameters);
      training.step(problem, 1);
      set_first(parameters, name, value);
      const auto before = snapshot(parameters);
      const std::string message = fmt::format("parameter '{}' isn't finite", name);
      CHECK_THROWS_WITH_AS(training.step(problem, 2), message.c_str(), Error);
      CHECK_THROWS_WITH_AS(gradients.run(problem), message.c_str(), Error);
      CHECK(same_bits(before, snapshot(parameters)));
    }
  }
}

namespace {

/// Calls `body` with each update rule, with and without accumulation, with and without clipping of gradients, and with
/// whether the updates are deferred.
void for_each_update_configuration(const std::function<void(program::ProgramOptions, bool)>& body) {
  const std::unique_ptr<optim::Optimizer> rules[] = {optim::adam(), optim::adamw({.groups = {.weight_decay = 0.1}}),
                                                     optim::sgd(),  optim::sgd({.momentum = 0.9, .nesterov = true}),
                                                     optim::lars(), optim::lamb()};
  for (std::size_t rule = 0; rule < std::size(rules); ++rule) {
    for (const bool accumulate : {false, true}) {
      for (const double clip_norm : {0.0, 1.0}) {
        CAPTURE(rule);
        CAPTURE(accumulate);
        CAPTURE(clip_norm);
        program::ProgramOptions options{
            .mode = program::Mode::training, .mean = {0.5F, 0.5F, 0.5F}, .std = {0.3F, 0.3F, 0.3F}};
        options.optimizer = rules[rule].get();
        options.gradient_policy = optim::update_policy({.accumulate = accumulate, .clip_norm = clip_norm});
        body(options, accumulate || clip_norm > 0);
      }
    }
  }
}

}  // namespace

TEST_CASE("program: a NaN weight that a ReLU hides from the loss stops its step, and the error names it") {
  const Problem problem = make_problem([](Value x) { return max_pool(relu(front(x, 8)), {.kernel = 2}); });
  for_each_update_configuration([&](program::ProgramOptions options, bool) {
    for (const bool averages : {false, true}) {
      CAPTURE(averages);
      Parameters parameters = random_parameters(problem.graph), average(problem.graph, 2);
      options.batch = problem.batch;
      options.average = averages ? &average : nullptr;
      options.average_decay = 0.9;
      Session session(problem.graph, parameters, options);
      session.run(problem, 1, 1e-3F);
      set_first_unchecked(parameters, "front.weight", std::numeric_limits<float>::quiet_NaN());
      CHECK_THROWS_WITH_AS(session.run(problem, 2, 1e-3F),
                           doctest::Contains("parameter 'front.weight' isn't finite after its update"), Error);
    }
  });
}

TEST_CASE("program: a non-finite gradient stops its step, and the error names the parameter") {
  Problem problem =
      make_problem([](Value x) { return linear(flatten(front(x, 4)), {.features = 4, .name = "hidden"}); });
  problem.labels[0] = 0;
  for_each_update_configuration([&](program::ProgramOptions options, bool deferred) {
    Parameters parameters = random_parameters(problem.graph);
    options.batch = problem.batch;
    Session session(problem.graph, parameters, options);
    // All logits are 0: the loss and the gradient of the hidden layer's output are finite, but the product of that
    // gradient and the layer's input overflows.
    for (const char* name : {"hidden.weight", "hidden.bias", "head.bias"}) {
      const int index = parameters.find(name);
      parameters.set(index, std::vector<float>(parameters.get(index).size()));
    }
    const int front_bias = parameters.find("front.bias");
    parameters.set(front_bias, std::vector<float>(parameters.get(front_bias).size(), 100.0F));
    const int head = parameters.find("head.weight");
    std::vector<float> weights = parameters.get(head);
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = i < weights.size() / 4 ? 3e38F : -3e38F;
    parameters.set(head, weights);
    const auto before = snapshot(parameters);
    CHECK_THROWS_WITH_AS(session.run(problem, 1, 1e-3F),
                         doctest::Contains(deferred ? "the gradient of parameter 'hidden.weight' isn't finite"
                                                    : "parameter 'hidden.weight' isn't finite after its update"),
                         Error);
    const auto after = snapshot(parameters);
    if (deferred) CHECK(same_bits(after, before));
    for (const char* name : {"front.weight", "front.bias"}) {
      const auto index = static_cast<std::size_t>(parameters.find(name));
      CHECK(after[index] == before[index]);
    }
  });
}

TEST_CASE("program: an update that overflows a weight stops its step, and the error names a weight") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph);
  TrainingSession training(problem, parameters);
  training.step(problem, 1);
  CHECK_THROWS_WITH_AS(training.step(problem, 2, std::numeric_limits<float>::infinity()),
                       doctest::Contains("isn't finite after its update"), Error);
}

}  // namespace facet::testing
