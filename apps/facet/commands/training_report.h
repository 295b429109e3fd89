#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/terminal.h"
#include "facet/training.h"

namespace facet::app {

/// Reports the progress of training. It prints a line after each epoch; within an epoch it draws a progress bar on a
/// terminal, and elsewhere prints lines at intervals in long epochs.
class TrainingReport {
 public:
  TrainingReport(std::vector<std::string> heads, std::int64_t epochs);

  void step(const StepResult& result);
  void epoch(const EpochResult& result);
  void note(const std::string& text);
  /// Wipes the bar.
  void clear() { bar_.clear(); }

  /// The result of the last step; its epoch is 0 before the first step.
  const StepResult& last_step() const { return last_; }
  /// The number of epochs that have ended.
  std::int64_t epochs_done() const { return epochs_done_; }

 private:
  /// "age 81.2%  gender -"; the value of a head without labels is NaN.
  std::string accuracies(const std::vector<double>& values, int decimals) const;
  /// "  run 1:02:03", the time left in this and all following epochs; empty in the last epoch.
  std::string run_time_left(const StepResult& result) const;

  std::vector<std::string> heads_;
  std::int64_t epochs_;
  std::int64_t epochs_done_ = 0;
  double epoch_seconds_ = 0;  ///< duration of the last whole epoch, including validation
  StepResult last_;
  std::chrono::steady_clock::time_point last_line_ = std::chrono::steady_clock::now();
  ProgressBar bar_;
};

}  // namespace facet::app
