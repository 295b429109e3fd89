#pragma once

#include <cstdint>

#include "facet/train.h"

namespace facet::train {

/// The learning rate of each step of a run: a function of the options, the steps of an epoch and the step's number
/// alone, so that a resumed run goes on where it stood.
class Schedule {
 public:
  /// @param options have been checked. @param steps_per_epoch of the optimiser.
  Schedule(const TrainOptions& options, std::int64_t steps_per_epoch);

  /// @param step of the optimiser, from 1.
  double learning_rate(std::int64_t step) const;

 private:
  double one_cycle(double done) const;

  LearningRateSchedule o_;
  double peak_;                        ///< what the warm-up leads to
  double per_epoch_, total_, warmup_;  ///< steps
};

}  // namespace facet::train
