#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/terminal.h"
#include "facet/sinks.h"

namespace facet::app {

/// The sink that reports the progress of training to the user. It prints a line after each epoch. Within an epoch it
/// draws a progress bar on a terminal; elsewhere it prints lines at intervals in long epochs. With
/// TrainOptions::log_every it prints a line every so many steps, on a terminal as well, instead of those at intervals.
class TrainingReport final : public TrainSink {
 public:
  void on_start(const RunInfo& info) override;
  void on_resume(const RunInfo& info) override { on_start(info); }
  void on_step(const StepResult& result) override;
  void on_epoch(const EpochResult& result) override;
  void on_profile(const StepProfile& profile) override;
  void on_note(const std::string& text) override;
  void on_end(const RunEnd& end) override;

  /// The result of the last step; its epoch is 0 before the first step.
  const StepResult& last_step() const { return last_; }
  /// The number of epochs that have ended.
  std::int64_t epochs_done() const { return epochs_done_; }

 private:
  /// "age 81.2%  gender -"; the value of a head without labels is NaN.
  std::string accuracies(const std::vector<double>& values, int decimals) const;
  /// "  run 1:02:03", the time left in this and all following epochs; empty in the last epoch.
  std::string run_time_left(const StepResult& result) const;
  /// Whether a line is due at a step. @param another_tenth whether the step has reached another tenth of the epoch.
  bool line_due(const StepResult& result, bool another_tenth) const;

  std::vector<std::string> heads_;
  std::int64_t epochs_ = 0;
  int processes_ = 1;
  std::int64_t log_every_ = 0;
  std::int64_t epochs_done_ = 0;
  double epoch_seconds_ = 0;  ///< duration of the last whole epoch, including validation
  StepResult last_;
  std::chrono::steady_clock::time_point last_line_ = std::chrono::steady_clock::now();
  ProgressBar bar_;
};

}  // namespace facet::app
