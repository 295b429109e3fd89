#include "facet/summary.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "facet/error.h"
#include "program/small_model.h"
#include "testing.h"

namespace facet::testing {

TEST_CASE("plan_training: memory and instructions of a batch") {
  const Problem problem = small_model(1);
  const TrainingPlan one = plan_training(problem.graph, 1, Precision::f32, false);
  const TrainingPlan many = plan_training(problem.graph, 64, Precision::f32, false);
  CHECK(one.memory.total() == one.memory.activations + one.memory.prepared + one.memory.parameters);
  CHECK(many.memory.activations > one.memory.activations);
  CHECK(many.memory.parameters == one.memory.parameters);
  // Values, Adam's two slots.
  CHECK(one.memory.parameters >= 3 * sizeof(float) * static_cast<std::size_t>(problem.graph.trainable_count()));
  CHECK(plan_training(problem.graph, 64, Precision::f32, true).memory.activations <= many.memory.activations);
  const auto updates = std::count_if(one.instructions.begin(), one.instructions.end(),
                                     [](const PlannedInstruction& each) { return each.kind == "update"; });
  CHECK(updates > 0);
  for (const PlannedInstruction& each : one.instructions) CHECK(!each.primitive.empty());
}

TEST_CASE("plan_training: a batch of no images is refused") {
  const Problem problem = small_model(1);
  CHECK(contains(error_of([&] { plan_training(problem.graph, 0, Precision::f32, false); }), "batch 0"));
}

}  // namespace facet::testing
