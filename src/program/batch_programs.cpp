#include "program/batch_programs.h"

#include <algorithm>

namespace facet::program {

BatchPrograms::BatchPrograms(const Graph& graph, Parameters& parameters, const program::ProgramOptions& options,
                             program::TuningRecord& tuning_record, base::Arena& arena, std::size_t capacity)
    : graph_(graph),
      parameters_(parameters),
      options_(options),
      tuning_record_(tuning_record),
      arena_(arena),
      capacity_(capacity) {
  options_.prepared = &prepared_;
}

BatchPrograms::Entry& BatchPrograms::compiled(std::int64_t batch) {
  const auto found = std::find_if(programs_.begin(), programs_.end(),
                                  [&](const Entry& entry) { return entry.program.options().batch == batch; });
  if (found != programs_.end()) {
    programs_.splice(programs_.begin(), programs_, found);
    return programs_.front();
  }
  if (programs_.size() >= capacity_) programs_.pop_back();
  options_.batch = batch;
  if (options_.as_for_batch == 0) options_.as_for_batch = batch;
  programs_.push_front({program::Program(graph_, parameters_, options_, tuning_record_)});
  return programs_.front();
}

program::Program& BatchPrograms::get(std::int64_t batch) {
  Entry& entry = compiled(batch);
  if (!entry.bound) {
    arena_.grow(entry.program.arena_bytes());
    entry.program.bind(arena_);
    entry.bound = true;
  }
  return entry.program;
}

const program::Program& BatchPrograms::plan(std::int64_t batch) { return compiled(batch).program; }

std::size_t BatchPrograms::held_bytes() const { return prepared_.bytes(); }

}  // namespace facet::program
