#include "commands/training_plan.h"

#include "facet/parameters.h"
#include "optim/optimizer.h"
#include "program/parameter_store.h"
#include "program/tuning_record.h"

namespace facet::app {

TrainingPlan plan_training(const Graph& graph, std::int64_t batch, Precision precision, bool save_memory,
                           const std::filesystem::path& tuning_cache) {
  program::TuningRecord tuning_record(false);
  program::TuningCache(tuning_cache).read_into(tuning_record);
  const auto adam = optim::adam();
  program::ProgramOptions options;
  options.batch = batch;
  options.precision = precision;
  options.mode = program::Mode::training;
  options.save_memory = save_memory;
  options.optimizer = adam.get();
  Parameters parameters = program::make_parameters(graph, 0, program::plan_layouts(graph, options, tuning_record));
  const program::Program program(graph, parameters, options, tuning_record);

  return {{program.arena_bytes(), program.held_bytes(), parameters.state().bytes()}, program.instructions()};
}

}  // namespace facet::app
