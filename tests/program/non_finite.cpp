#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "facet/error.h"
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
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const char* head : {"first", "second"}) {
      CAPTURE(value);
      CAPTURE(head);
      Parameters parameters = random_parameters(problem.graph);
      TrainingSession training(problem, parameters);
      training.step(problem, 1);
      set_first(parameters, std::string(head) + ".bias", value);
      const auto before = trained(parameters);
      CHECK_THROWS_WITH_AS(training.step(problem, 2), doctest::Contains(head), Error);
      CHECK(same_bits(before, trained(parameters)));
    }
  }
}

TEST_CASE("program: after such a step training goes on from good parameters") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph), untroubled = random_parameters(problem.graph);
  TrainingSession training(problem, parameters), other(problem, untroubled);
  training.step(problem, 1);
  other.step(problem, 1);
  const auto good = snapshot(parameters);
  set_first(parameters, "second.weight", std::numeric_limits<float>::quiet_NaN());
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
  set_first(parameters, "second.bias", std::numeric_limits<float>::quiet_NaN());
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

}  // namespace facet::testing
