#include "train/step_profiler.h"

#include <algorithm>
#include <span>
#include <vector>

namespace facet::train {
namespace {

/// Steps before the first profiled one: they touch memory first and fill caches.
constexpr std::int64_t warm_up_steps = 2;

}  // namespace

void StepProfiler::begin_step(bool is_full, const comm::ExchangeTimes& exchanged) {
  is_on_ = is_full && trained_ >= warm_up_steps;
  step_kinds_.clear();
  exchanged_ = exchanged;
}

void StepProfiler::add(const program::Program& program) {
  const std::vector<program::InstructionInfo> instructions = program.instructions();
  const std::span<const double> seconds = program.instruction_seconds();
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    step_kinds_[std::string(to_string(instructions[i].kind))] += seconds[i];
  }
}

void StepProfiler::end_step(const EpochSums& before, const EpochSums& after, const comm::ExchangeTimes& exchanged) {
  ++trained_;
  if (!is_on_) return;
  is_on_ = false;
  ++steps_;
  images_ += after.images - before.images;
  seconds_ += after.training_seconds - before.training_seconds;
  waited_ += after.waited_seconds - before.waited_seconds;
  for (const auto& [kind, seconds] : step_kinds_) kinds_[kind] += seconds;
  communication_.exchange.total += exchanged.total - exchanged_.total;
  communication_.exchange.waited += exchanged.waited - exchanged_.waited;
  communication_.exchange.cpu += exchanged.cpu - exchanged_.cpu;
  communication_.other +=
      after.communication_seconds - before.communication_seconds - exchanged.waited + exchanged_.waited;
}

StepProfile StepProfiler::result(comm::Communicator& group) const {
  const auto steps = static_cast<double>(steps_);
  StepProfile profile;
  profile.steps = steps_;
  profile.images = images_ / steps_;
  profile.images_per_s = static_cast<double>(images_) / seconds_;
  profile.seconds = seconds_ / steps;
  profile.waited_seconds = waited_ / steps;
  for (const auto& [kind, seconds] : kinds_) profile.seconds_by_kind[kind] = seconds / steps;
  profile.processes = group.size();
  if (group.is_alone()) return profile;

  StepProfile::Communication& communication = profile.communication;
  comm::ExchangeTimes sum;
  double other = 0;
  for (const Communication& rank : group.all_gather(communication_)) {
    sum.total += rank.exchange.total;
    sum.waited += rank.exchange.waited;
    sum.cpu += rank.exchange.cpu;
    other += rank.other;
    communication.longest_other_seconds = std::max(communication.longest_other_seconds, rank.other / steps);
  }
  const double all = steps * group.size();
  communication.seconds = sum.total / all;
  communication.waited_seconds = sum.waited / all;
  communication.cpu_seconds = sum.cpu / all;
  communication.hidden = sum.hidden();
  communication.other_seconds = other / all;
  return profile;
}

}  // namespace facet::train
