#include <doctest/doctest.h>

#include <algorithm>

#include "facet/summary.h"
#include "program/small_model.h"

namespace facet::testing {
namespace {

using program::InstructionInfo;
using program::InstructionKind;

const InstructionInfo& find(const std::vector<InstructionInfo>& instructions, const std::string& name) {
  const auto found = std::find_if(instructions.begin(), instructions.end(),
                                  [&](const InstructionInfo& instruction) { return instruction.name == name; });
  REQUIRE_MESSAGE(found != instructions.end(), name);
  return *found;
}

}  // namespace

TEST_CASE(
    "instructions: their FLOPs are those of the convolutions and linear layers, in forward and for each gradient") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph);
  double expected = 0;
  for (const NodeCost& cost : facet::costs(problem.graph)) {
    if (cost.op == "convolution" || cost.op == "linear") expected += 4 * cost.training_flops;
  }
  double found = 0;
  for (const InstructionInfo& instruction : gradient_session(problem, parameters).program().instructions()) {
    found += instruction.flops;
  }
  CHECK(found == doctest::Approx(expected));
}

TEST_CASE("instructions: transforms of weights count no FLOPs, and scratch memory isn't counted in the bytes") {
  const Problem problem =
      make_problem([](Value x) { return convolution(front(x, 16), {.channels = 32, .name = "conv"}); },
                   {.height = 8, .width = 8, .batch = 2});
  Parameters parameters = random_parameters(problem.graph);
  const program::ProgramOptions options{.batch = 2, .mode = program::Mode::gradients};
  const Session session(problem.graph, parameters, options, prefer("winograd f32", problem.graph, parameters, options));
  const std::vector<InstructionInfo> instructions = session.program().instructions();
  const std::string work = "convolution 16x8x8 by 32x16x3x3 to 32x8x8";
  const double flops = 2.0 * 2 * 32 * 8 * 8 * 16 * 9;
  for (const std::string part : {"forward", "backward_data", "backward_weights"}) {
    const InstructionInfo instruction = find(instructions, "conv." + part);
    CHECK(instruction.work == work);
    CHECK(instruction.candidate == "winograd f32");
    CHECK(instruction.flops == flops);
  }
  for (const std::string part : {"transform_weights", "turn_weights"}) {
    const InstructionInfo instruction = find(instructions, "conv." + part);
    CHECK(instruction.work == work);
    CHECK(instruction.candidate == "winograd f32");
    CHECK(instruction.flops == 0);
  }
  // The source, the gradient of the output and the gradient of the weights, in f32.
  CHECK(find(instructions, "conv.backward_weights").bytes == 4 * (2 * 16 * 8 * 8 + 2 * 32 * 8 * 8 + 32 * 16 * 9));
}

TEST_CASE("instructions: an update reads gradient, weight and two moments, and writes all but the gradient") {
  const Problem problem = small_model(2);
  Parameters parameters = random_parameters(problem.graph);
  TrainingSession training(problem, parameters);
  for (const Parameter& parameter : parameters.list()) {
    if (!parameter.trainable) continue;
    const std::int64_t bytes = find(training.session().program().instructions(), parameter.name + ".update").bytes;
    const std::int64_t expected = 28 * element_count(parameter.shape);
    CHECK(bytes >= expected);  // blocked layouts are padded
    if (parameter.shape.size() == 1) CHECK(bytes == expected);
  }
}

TEST_CASE("instructions: a profiled run reports each one's memory before it runs, an unprofiled run doesn't") {
  const Problem problem = small_model(2);
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters);
  const std::vector<InstructionInfo> instructions = session.program().instructions();
  std::vector<std::size_t> reported;
  session.program().profile(true, [&](std::size_t instruction, std::span<const std::span<const std::byte>> memory) {
    reported.push_back(instruction);
    std::size_t bytes = 0;
    for (const auto& operand : memory) bytes += operand.size();
    CHECK(static_cast<std::int64_t>(bytes) >= instructions.at(instruction).bytes);
  });
  session.run(problem);
  REQUIRE(reported.size() == instructions.size());
  CHECK(std::is_sorted(reported.begin(), reported.end()));
  session.program().profile(false);
  session.run(problem);
  CHECK(reported.size() == instructions.size());
}

TEST_CASE("tuning record: the offered candidates are listed, and the chosen one is among them") {
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
