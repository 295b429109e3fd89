#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "comm/bucket_exchange.h"
#include "comm/communicator.h"
#include "facet/sinks.h"
#include "program/program.h"
#include "train/training_state.h"

namespace facet::train {

/// Profiles a program as long as it lives; does nothing where there is none.
class Profiling {
 public:
  explicit Profiling(program::Program* program) : program_(program) {
    if (program_ != nullptr) program_->profile(true);
  }
  ~Profiling() {
    if (program_ != nullptr) program_->profile(false);
  }
  Profiling(const Profiling&) = delete;
  Profiling& operator=(const Profiling&) = delete;

 private:
  program::Program* program_;
};

/// Sums where the time of some steps of a run goes, see TrainOptions::profile_steps. All ranks profile the same steps.
class StepProfiler {
 public:
  /// @param steps the number of steps to profile.
  explicit StepProfiler(std::int64_t steps) : wanted_(steps) {}

  /// Called before each step; a step that failed begins again.
  /// @param is_full whether all its batches are full ones. @param exchanged what exchanging has taken so far.
  void begin_step(bool is_full, const comm::ExchangeTimes& exchanged);
  /// Whether the batches of this step are to be run with Profiling, and then to be passed to add().
  bool is_on() const { return is_on_; }
  /// Adds the times of a program's last run.
  void add(const program::Program& program);
  /// Called after each step. @param before, after the epoch's sums before and after it.
  void end_step(const EpochSums& before, const EpochSums& after, const comm::ExchangeTimes& exchanged);

  /// The number of steps that are profiled so far.
  std::int64_t steps() const { return steps_; }
  bool is_complete() const { return steps_ == wanted_; }
  /// The profile of these steps, of which there must be one; called on all ranks.
  StepProfile result(comm::Communicator& group) const;

 private:
  std::int64_t wanted_;
  std::int64_t trained_ = 0;  ///< steps, profiled or not
  bool is_on_ = false;
  std::map<std::string, double> step_kinds_;  ///< seconds of the step in progress
  comm::ExchangeTimes exchanged_;             ///< before the step in progress
  // Over the profiled steps:
  std::int64_t steps_ = 0, images_ = 0;
  double seconds_ = 0, waited_ = 0;
  std::map<std::string, double> kinds_;
  /// Seconds of this process, as StepProfile::Communication has them.
  struct Communication {
    comm::ExchangeTimes exchange;
    double other = 0;
  };
  Communication communication_;
};

}  // namespace facet::train
