#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "ops/network.h"
#include "optim/optimizer.h"
#include "reference/reference_file.h"
#include "train/recipe.h"

namespace facet::testing {
namespace {

struct UpdateCase {
  const char* name;
  float learning_rate;  ///< the schedule's highest
  std::unique_ptr<optim::Optimizer> rule;
  LearningRateSchedule::Kind schedule = LearningRateSchedule::Kind::constant;
};

/// The cases of make_references.py.
std::vector<UpdateCase> cases() {
  const optim::ParameterGroups decay{.weight_decay = 0.05},
      matrices_only{.weight_decay = 0.05, .decays_vectors = false};
  std::vector<UpdateCase> all;
  all.push_back({"sgd", 0.1F, optim::sgd()});
  all.push_back({"sgd.decay", 0.1F, optim::sgd({.groups = decay})});
  all.push_back({"sgd.momentum", 0.1F, optim::sgd({.momentum = 0.9})});
  all.push_back({"sgd.nesterov", 0.1F, optim::sgd({.momentum = 0.8, .nesterov = true, .groups = decay})});
  all.push_back({"sgd.spared", 0.1F, optim::sgd({.momentum = 0.9, .groups = matrices_only})});
  all.push_back({"adam", 0.01F, optim::adam()});
  all.push_back({"adam.decay", 0.01F, optim::adam({.beta1 = 0.8, .beta2 = 0.99, .eps = 1e-4, .groups = decay})});
  all.push_back({"adamw", 0.01F, optim::adamw({.groups = {.weight_decay = 0.5}})});
  all.push_back({"adamw.spared", 0.01F, optim::adamw({.groups = {.weight_decay = 0.5, .decays_vectors = false}})});
  all.push_back({"adamw.fan_in", 0.01F, optim::adamw({.groups = {.weight_decay = 0.5, .max_fan_in = 6}})});
  all.push_back({"lars", 20.0F, optim::lars()});
  all.push_back({"lars.fan_in", 20.0F, optim::lars({.groups = {.max_fan_in = 6}})});
  all.push_back({"lars.decay", 1.0F, optim::lars({.momentum = 0.8, .trust_coefficient = 0.02, .groups = decay})});
  all.push_back({"lars.spared", 0.1F, optim::lars({.trust_coefficient = 0.1, .groups = matrices_only})});
  all.push_back({"lamb", 0.01F, optim::lamb()});
  all.push_back(
      {"lamb.decay", 0.01F, optim::lamb({.beta1 = 0.8, .beta2 = 0.99, .eps = 1e-4, .groups = {.weight_decay = 0.5}})});
  all.push_back({"lamb.spared", 0.01F, optim::lamb({.groups = {.weight_decay = 0.5, .decays_vectors = false}})});
  constexpr auto one_cycle = LearningRateSchedule::Kind::one_cycle;
  all.push_back({"sgd.one-cycle", 0.1F, optim::sgd({.momentum = 0.5}), one_cycle});
  all.push_back({"nesterov.one-cycle", 0.1F, optim::sgd({.momentum = 0.5, .nesterov = true}), one_cycle});
  all.push_back({"adam.one-cycle", 0.1F, optim::adam(), one_cycle});
  all.push_back({"adamw.one-cycle", 0.1F, optim::adamw({.groups = {.weight_decay = 0.5}}), one_cycle});
  all.push_back({"lamb.one-cycle", 0.1F, optim::lamb({.groups = {.weight_decay = 0.5}}), one_cycle});
  return all;
}

struct Trained {
  std::vector<float> weight, average;
};

Trained trained(const UpdateCase& rule, const ReferenceFile& reference, const std::string& parameter) {
  std::vector<float> weight = reference.read("start." + parameter);
  std::vector<float> gradients = reference.read("gradients." + parameter);
  std::vector<float> average(weight.size());
  std::vector<std::vector<float>> state(rule.rule->slot_names().size(), std::vector<float>(weight.size()));
  optim::UpdateOperands operands{
      .weight = weight.data(),
      .count = static_cast<std::int64_t>(weight.size()),
      .average = average.data(),
      .shape = reference.shape("start." + parameter),
      .group = rule.rule->group_of({.name = parameter, .shape = reference.shape("start." + parameter)})};
  for (std::vector<float>& slot : state) operands.slots.push_back(slot.data());
  const std::size_t steps = gradients.size() / weight.size();
  TrainOptions options;
  options.epochs = 1;
  options.learning_rate = rule.learning_rate;
  options.schedule.kind = rule.schedule;
  const train::Schedule schedule(options, static_cast<std::int64_t>(steps));
  for (std::size_t step = 0; step < steps; ++step) {
    operands.average_decay = step == 0 ? 0 : 0.9;
    operands.gradient = gradients.data() + step * weight.size();
    const auto number = static_cast<std::int64_t>(step) + 1;
    rule.rule->step(operands, {static_cast<float>(schedule.learning_rate(number)), number, schedule.momentum(number)});
  }
  return {weight, average};
}

}  // namespace

TEST_CASE("update rules: updates and averages of a matrix and a vector agree with PyTorch's optimisers") {
  if (!have_references()) return;
  const ReferenceFile reference("updates");
  for (const UpdateCase& rule : cases()) {
    for (const std::string parameter : {"matrix", "vector"}) {
      CAPTURE(rule.name);
      CAPTURE(parameter);
      const Trained found = trained(rule, reference, parameter);
      CHECK(max_difference(found.weight, reference.read(rule.name + ("." + parameter))) <= 2e-6);
      CHECK(max_difference(found.average, reference.read(rule.name + (".average." + parameter))) <= 2e-6);
      CHECK(max_difference(found.weight, reference.read("start." + parameter)) > 1e-2);
    }
  }
}

}  // namespace facet::testing
