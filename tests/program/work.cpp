#include <doctest/doctest.h>

#include <algorithm>

#include "program/small_model.h"

namespace facet::testing {
namespace {

using program::InstructionInfo;
using program::InstructionKind;

const InstructionInfo& find(const std::vector<InstructionInfo>& steps, const std::string& name) {
  const auto found =
      std::find_if(steps.begin(), steps.end(), [&](const InstructionInfo& step) { return step.name == name; });
  REQUIRE_MESSAGE(found != steps.end(), name);
  return *found;
}

}  // namespace

TEST_CASE("steps: FLOPs of all are those of the convolutions and linear layers, forward and by each gradient") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph);
  double expected = 0;
  for (const program::NodeCost& cost : program::costs(problem.graph)) {
    if (cost.op == "convolution" || cost.op == "linear") expected += 4 * cost.training_flops;
  }
  double found = 0;
  for (const InstructionInfo& step : gradient_session(problem, parameters).program().instructions())
    found += step.flops;
  CHECK(found == doctest::Approx(expected));
}

TEST_CASE("steps: a candidate's own work on weights has no FLOPs of its own, and its scratch isn't counted as moved") {
  const Problem problem =
      make_problem([](Value x) { return convolution(front(x, 16), {.channels = 32, .name = "conv"}); },
                   {.height = 8, .width = 8, .batch = 2});
  Parameters parameters = random_parameters(problem.graph);
  const program::ProgramOptions options{.batch = 2, .mode = program::Mode::gradients};
  const Session session(problem.graph, parameters, options, prefer("winograd f32", problem.graph, parameters, options));
  const std::vector<InstructionInfo> steps = session.program().instructions();
  const std::string work = "convolution 16x8x8 by 32x16x3x3 to 32x8x8";
  const double flops = 2.0 * 2 * 32 * 8 * 8 * 16 * 9;
  for (const std::string part : {"forward", "backward_data", "backward_weights"}) {
    const InstructionInfo step = find(steps, "conv." + part);
    CHECK(step.work == work);
    CHECK(step.candidate == "winograd f32");
    CHECK(step.flops == flops);
  }
  for (const std::string part : {"transform_weights", "turn_weights"}) {
    const InstructionInfo step = find(steps, "conv." + part);
    CHECK(step.work == work);
    CHECK(step.candidate == "winograd f32");
    CHECK(step.flops == 0);
  }
  // Source, gradient by the output and gradient by the weights, f32.
  CHECK(find(steps, "conv.backward_weights").bytes == 4 * (2 * 16 * 8 * 8 + 2 * 32 * 8 * 8 + 32 * 16 * 9));
}

TEST_CASE("steps: an update reads gradient, weight and two moments, and writes all but the gradient") {
  const Problem problem = small_model(2);
  Parameters parameters = random_parameters(problem.graph);
  TrainingSession training(problem, parameters);
  for (const Parameter& parameter : parameters.list()) {
    if (!parameter.trainable) continue;
    const std::int64_t bytes = find(training.session().program().instructions(), parameter.name + ".update").bytes;
    const std::int64_t expected = 28 * element_count(parameter.shape);
    CHECK(bytes >= expected);  // blocked orders are padded
    if (parameter.shape.size() == 1) CHECK(bytes == expected);
  }
}

TEST_CASE("steps: before each of a profiled run its memory is told, but not once the profile is off") {
  const Problem problem = small_model(2);
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters);
  const std::vector<InstructionInfo> steps = session.program().instructions();
  std::vector<std::size_t> told;
  session.program().profile(true, [&](std::size_t step, std::span<const std::span<const std::byte>> memory) {
    told.push_back(step);
    std::size_t bytes = 0;
    for (const auto& piece : memory) bytes += piece.size();
    CHECK(static_cast<std::int64_t>(bytes) >= steps.at(step).bytes);
  });
  session.run(problem);
  REQUIRE(told.size() == steps.size());
  CHECK(std::is_sorted(told.begin(), told.end()));
  session.program().profile(false);
  session.run(problem);
  CHECK(told.size() == steps.size());
}

TEST_CASE("tuning record: what there is to choose from is told, the chosen one among it") {
  const Problem problem = small_model(2);
  Parameters parameters = random_parameters(problem.graph);
  program::TuningRecord tuning_record(false);
  const program::Program program(problem.graph, parameters, {.batch = 2}, tuning_record);
  CHECK(!tuning_record.offered().empty());
  for (const auto& [key, candidates] : tuning_record.offered()) {
    CHECK(std::count(candidates.begin(), candidates.end(), tuning_record.find(key)) == 1);
  }
}

}  // namespace facet::testing
