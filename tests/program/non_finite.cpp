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

/// Changes a weight behind the parameters' back, as an update would.
void poke(Parameters& parameters, const std::string& name, float value) {
  const int index = parameters.find(name);
  *reinterpret_cast<float*>(parameters.state().stored[static_cast<std::size_t>(index)].master.data()) = value;
}

/// The trained parameters: running statistics belong to the forward pass.
std::vector<std::vector<float>> trained(const Parameters& parameters) {
  std::vector<std::vector<float>> values;
  for (std::size_t i = 0; i < parameters.list().size(); ++i)
    if (parameters.list()[i].trainable) values.push_back(parameters.get(static_cast<int>(i)));
  return values;
}

}  // namespace

TEST_CASE("program: a loss that isn't finite names its head and moves no parameter") {
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

TEST_CASE("program: after such a step training goes on from good parameters") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph), untroubled = random_parameters(problem.graph);
  TrainingSession training(problem, parameters), other(problem, untroubled);
  training.step(problem, 1);
  other.step(problem, 1);
  const auto good = snapshot(parameters);
  diverge(parameters, "second");
  CHECK_THROWS_AS(training.step(problem, 2), Error);
  for (std::size_t i = 0; i < good.size(); ++i) parameters.set(static_cast<int>(i), good[i]);
  training.step(problem, 2);
  other.step(problem, 2);
  CHECK(same_bits(snapshot(parameters), snapshot(untroubled)));
}

TEST_CASE("program: an inference program knows of the statistics that such a step moved") {
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

TEST_CASE("program: a head without labels is finite") {
  Problem problem = small_model(4);
  std::fill(problem.labels.begin(), problem.labels.begin() + 4, -1);
  Parameters parameters = random_parameters(problem.graph);
  TrainingSession training(problem, parameters);
  CHECK(training.step(problem, 1) > 0);
}

TEST_CASE("program: a parameter that was set to what isn't finite stops the next step, and nothing has moved") {
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

/// Every rule, and whether gradients are summed, clipped and averaged.
void for_each_way_of_training(const std::function<void(program::ProgramOptions)>& body) {
  const std::unique_ptr<optim::Optimizer> rules[] = {optim::adam(), optim::adamw({.weight_decay = {.rate = 0.1}}),
                                                     optim::sgd(), optim::sgd({.momentum = 0.9, .nesterov = true})};
  for (std::size_t rule = 0; rule < std::size(rules); ++rule) {
    for (const bool accumulate : {false, true}) {
      for (const double clip_norm : {0.0, 1.0}) {
        CAPTURE(rule);
        CAPTURE(accumulate);
        CAPTURE(clip_norm);
        program::ProgramOptions options{
            .mode = program::Mode::training, .mean = {0.5F, 0.5F, 0.5F}, .std = {0.3F, 0.3F, 0.3F}};
        options.optimizer = rules[rule].get();
        options.accumulate = accumulate;
        options.clip_norm = clip_norm;
        body(options);
      }
    }
  }
}

}  // namespace

TEST_CASE("program: a weight that is NaN where a ReLU hides it stops its step, by name") {
  const Problem problem = make_problem([](Value x) { return max_pool(relu(front(x, 8)), {.kernel = 2}); });
  for_each_way_of_training([&](program::ProgramOptions options) {
    for (const bool averages : {false, true}) {
      CAPTURE(averages);
      Parameters parameters = random_parameters(problem.graph), average(problem.graph, 2);
      options.batch = problem.batch;
      options.average = averages ? &average : nullptr;
      options.average_decay = 0.9;
      Session session(problem.graph, parameters, options);
      session.run(problem, 1, 1e-3F);
      poke(parameters, "front.weight", std::numeric_limits<float>::quiet_NaN());
      CHECK_THROWS_WITH_AS(session.run(problem, 2, 1e-3F),
                           doctest::Contains("parameter 'front.weight' isn't finite after its update"), Error);
    }
  });
}

TEST_CASE("program: a gradient that isn't finite stops its step, by its parameter's name") {
  Problem problem =
      make_problem([](Value x) { return linear(flatten(front(x, 4)), {.features = 4, .name = "hidden"}); });
  problem.labels[0] = 0;
  for_each_way_of_training([&](program::ProgramOptions options) {
    Parameters parameters = random_parameters(problem.graph);
    options.batch = problem.batch;
    Session session(problem.graph, parameters, options);
    // Logits are 0 and the loss is finite, and so is its gradient by the hidden layer's output, but for a product with
    // that layer's input.
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
    const bool waits = options.accumulate || options.clip_norm > 0;
    CHECK_THROWS_WITH_AS(session.run(problem, 1, 1e-3F),
                         doctest::Contains(waits ? "the gradient of parameter 'hidden.weight' isn't finite"
                                                 : "parameter 'hidden.weight' isn't finite after its update"),
                         Error);
    const auto after = snapshot(parameters);
    if (waits) CHECK(same_bits(after, before));
    for (const char* name : {"front.weight", "front.bias"}) {
      const auto index = static_cast<std::size_t>(parameters.find(name));
      CHECK(after[index] == before[index]);
    }
  });
}

TEST_CASE("program: a step that is too large for a weight stops, by the weight's name") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph);
  TrainingSession training(problem, parameters);
  training.step(problem, 1);
  CHECK_THROWS_WITH_AS(training.step(problem, 2, std::numeric_limits<float>::infinity()),
                       doctest::Contains("isn't finite after its update"), Error);
}

}  // namespace facet::testing
