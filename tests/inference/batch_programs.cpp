#include "program/batch_programs.h"

#include <doctest/doctest.h>

#include <vector>

#include "base/memory.h"
#include "base/parallel.h"
#include "inference/drawn_models.h"

namespace facet::testing {
namespace {

constexpr std::int64_t sizes[] = {8, 5, 3};

std::vector<float> logits_of(program::Program& program, const std::vector<std::uint8_t>& pixels) {
  program::RunInput input;
  input.pixels = pixels.data();
  program.run(input);
  std::vector<float> logits;
  for (const program::HeadView& head : program.heads()) {
    logits.insert(logits.end(), head.logits.begin(), head.logits.end());
  }
  return logits;
}

}  // namespace

TEST_CASE("inference: programs for several batch sizes hold shared weights once") {
  for (const char* name : {"reference", "resnet18", "mobilenet_v2"}) {
    CAPTURE(name);
    DrawnModel model(name, 64);
    const std::vector<std::uint8_t> pixels = drawn_pixels(sizes[0], 64);
    const base::ComputeScope scope(2);
    program::ProgramOptions options;
    options.as_for_batch = sizes[0];
    options.mean = model.info.normalization.mean;
    options.std = model.info.normalization.std;
    program::TuningRecord tuning_record(false);
    const auto run_alone = [&](std::int64_t batch, std::size_t& bytes) {
      base::Arena arena;
      program::BatchPrograms programs(model.graph, model.parameters, options, tuning_record, arena, 1);
      const std::vector<float> logits = logits_of(programs.get(batch), pixels);
      bytes += programs.held_bytes();
      return logits;
    };

    base::Arena arena;
    program::BatchPrograms programs(model.graph, model.parameters, options, tuning_record, arena, std::size(sizes));
    std::size_t alone = 0;
    for (const std::int64_t batch : sizes) CHECK(logits_of(programs.get(batch), pixels) == run_alone(batch, alone));
    CHECK(programs.held_bytes() > 0);
    CHECK(static_cast<double>(programs.held_bytes()) < 0.6 * static_cast<double>(alone));  // a third, if all are shared

    // Each program prepares them again when the parameters have changed.
    for (int index = 0; index < static_cast<int>(model.parameters.list().size()); ++index) {
      if (model.parameters.list()[static_cast<std::size_t>(index)].shape.size() < 2) continue;
      std::vector<float> values = model.parameters.get(index);
      for (float& value : values) value = -value;
      model.parameters.set(index, values);
    }
    for (const std::int64_t batch : sizes) CHECK(logits_of(programs.get(batch), pixels) == run_alone(batch, alone));
  }
}

}  // namespace facet::testing
