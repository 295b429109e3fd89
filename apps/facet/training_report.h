#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "facet/train.h"
#include "progress_bar.h"

namespace facet::app {

/// Tells how training goes: a bar on a terminal, elsewhere a line now and then in long epochs; after each epoch a line.
class TrainingReport {
 public:
  TrainingReport(std::vector<std::string> heads, std::int64_t epochs);

  void step(const StepResult& result);
  void epoch(const EpochResult& result);
  void note(const std::string& text);
  /// Wipes the bar.
  void clear() { bar_.clear(); }

  /// What the last step was; its epoch is 0 before the first.
  const StepResult& last_step() const { return last_; }
  /// The epochs that ended.
  std::int64_t epochs_done() const { return epochs_done_; }

 private:
  /// "age 81.2%  gender -": a head whose value is NaN has no labels.
  std::string accuracies(const std::vector<double>& values, int decimals) const;
  /// "  run 1:02:03": of this epoch and all that follow; empty in the last.
  std::string run_time_left(const StepResult& result) const;

  std::vector<std::string> heads_;
  std::int64_t epochs_;
  std::int64_t epochs_done_ = 0;
  double epoch_seconds_ = 0;  ///< of the last whole epoch, with its validation
  StepResult last_;
  std::chrono::steady_clock::time_point last_line_ = std::chrono::steady_clock::now();
  ProgressBar bar_;
};

}  // namespace facet::app
