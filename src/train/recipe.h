#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "facet/dataset.h"
#include "facet/image.h"
#include "facet/train_options.h"
#include "kernels/loss.h"
#include "optim/optimizer.h"

namespace facet::train {

// The update rule, loss rules and learning rates that TrainOptions describe.

/// All update rules and all schedules, in the order of the tables that name them.
std::vector<OptimizerKind> optimizer_kinds();
std::vector<LearningRateSchedule::Kind> schedule_kinds();

std::unique_ptr<optim::Optimizer> make_optimizer(const TrainOptions& options);

/// The highest rate of the schedule: learning_rate, scaled by lr_scale_batch where that is set.
double peak_learning_rate(const TrainOptions& options);

/// The class weights that the options ask for, by head; the entry with the empty name is replaced by one for each head
/// that it is for.
std::map<std::string, ClassWeights> class_weights_by_head(const TrainOptions& options, const std::vector<Head>& heads);

/// One rule for each head.
/// @param train the training set, from whose labels balanced class weights are computed, and which says what its
///   targets are; may be null.
/// @throws Error naming an option's head that doesn't exist, a head whose number of weights isn't its number of
///   classes, or one to be balanced without a training set, or that no image of it has a label of.
std::vector<kernels::LossRule> make_loss_rules(const TrainOptions& options, const std::vector<Head>& heads,
                                               const Dataset* train);

/// See balanced_class_weights().
std::vector<double> balanced_weights(const Dataset& train, std::size_t head);

/// The learning rate and momentum of each step of a run. They depend only on the options, the number of steps in an
/// epoch and the step's number, so that a resumed run continues with the same values.
class Schedule {
 public:
  /// @param options must have passed check_options(). @param steps_per_epoch the optimiser's steps in an epoch.
  Schedule(const TrainOptions& options, std::int64_t steps_per_epoch);

  /// @param step the optimiser's step, from 1.
  double learning_rate(std::int64_t step) const;
  /// The momentum that replaces the update rule's own in this step; nothing where the schedule doesn't change it.
  std::optional<double> momentum(std::int64_t step) const;

 private:
  double one_cycle(double done, double first, double middle, double last) const;

  LearningRateSchedule o_;
  double peak_;                        ///< the learning rate after the warm-up
  double per_epoch_, total_, warmup_;  ///< steps
};

/// The size of the training images in an epoch, from 1; see scheduled_size(). It depends only on the arguments, so that
/// a resumed run continues with the same sizes.
ImageSize training_size(const TrainOptions& options, ImageSize full, std::int64_t epoch);

/// @throws Error when the options, the number of steps or the step are out of range.
Schedule checked_schedule(const TrainOptions& options, std::int64_t steps_per_epoch, std::int64_t step);

}  // namespace facet::train
