#pragma once

#include <cstdint>
#include <optional>

#include "facet/train.h"

namespace facet::train {

/// The learning rate and momentum of each step of a run: a function of the options, the steps of an epoch and the
/// step's number alone, so that a resumed run goes on where it stood.
class Schedule {
 public:
  /// @param options have been checked. @param steps_per_epoch of the optimiser.
  Schedule(const TrainOptions& options, std::int64_t steps_per_epoch);

  /// @param step of the optimiser, from 1.
  double learning_rate(std::int64_t step) const;
  /// What the step's momentum is instead of the update rule's own; nothing where the schedule leaves it alone.
  std::optional<double> momentum(std::int64_t step) const;

 private:
  double one_cycle(double done, double first, double middle, double last) const;

  LearningRateSchedule o_;
  double peak_;                        ///< what the warm-up leads to
  double per_epoch_, total_, warmup_;  ///< steps
};

}  // namespace facet::train
