#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/export.h"
#include "facet/graph.h"
#include "facet/loader.h"
#include "facet/metrics.h"
#include "facet/model_file.h"
#include "facet/parameters.h"
#include "facet/precision.h"
#include "facet/sinks.h"
#include "facet/train_options.h"

namespace facet {

class TrainingSession;

/// Trains a model: the loop over epochs, batches, validation and checkpoints around a TrainingSession. Not thread-safe.
/// A trainer neither prints nor installs signal handlers.
///
/// A trainer locks options.out (by flock on the file run.lock in it) before it reads or changes anything there, and
/// holds the lock until it is destroyed. If the file system doesn't support locks, a note says so.
///
/// A process that has used a trainer or predictor may fork, but the child must not use facet unless it calls exec
/// first: it would hang, because, as with GCC's OpenMP, the compute threads don't exist in the child.
///
/// A trainer writes these files in options.out, each but steps.* and events.* completely or not at all:
/// - checkpoints/last.safetensors: the weights and the state of the run, with the optimiser's state in a file beside
///   it. It is written after every epoch, every checkpoint_minutes and when the run is stopped. A run continues from it
///   with bitwise the same results.
/// - checkpoints/best.safetensors: the weights of the last epoch with EpochResult::best; none without a validation set.
/// - checkpoints/last.average-STEP.safetensors: with ema_decay, the average that belongs to last.safetensors.
/// - checkpoints/epoch-NNN.safetensors: the weights of the last `keep` epochs.
/// - metrics.csv and metrics.jsonl: one line per epoch (see csv_sink and json_sink).
/// - steps.csv and steps.jsonl: with log_every, one line for every log_every-th step.
/// - events.out.tfevents.*: with tensorboard, metrics for TensorBoard (see tensorboard_sink).
/// - profile.json: with profile_steps, where the time of steps goes (see json_sink).
/// - tuning.json: the chosen precision and primitives; a repeated or resumed run uses them.
///
/// In several processes (TrainOptions::processes), each has a trainer of the same model, options and data, and all call
/// its functions together. Each loads and trains its share of every batch (BatchPlan), and evaluates its share of the
/// validation set; losses, counts, gradients and, with sync_batch_norm, batch statistics are those of one process with
/// the whole batches, up to rounding. Rank 0 alone uses options.out, and its checkpoints are the same for any number
/// of processes. Sinks are told on every process, if they are passed there. A `stop` that is true on one process, and
/// an error of one (see ProcessGroup::together), ends run() on all of them at the same step.
///
/// The last batch of an epoch may be smaller and is trained with its own number of images, even a single one: batch
/// statistics are then taken over that image's pixels. If that is a single pixel, which has no variance, the trainer's
/// constructor throws; another batch size or drop_last avoids this.
class FACET_EXPORT Trainer {
 public:
  /// @param info names the model and its heads for the checkpoints; info.heads must equal those of the graph and data.
  /// @param validation may be null. The data sets must outlive the trainer.
  /// @throws Error when an option is out of range; when heads don't match; when bf16 is requested but not supported;
  ///   when memory is insufficient; when `info` has a value that no model file can hold; when the pretrained weights
  ///   can't be read or don't fit; when `out` can't be written, is in use by another trainer (the message names its
  ///   process and host), or holds a run and resume isn't set; or when a run to be resumed was started with another
  ///   model, other training data (heads, names, labels or their order) or other values of the options that are
  ///   TrainOption::fixed. The number of epochs may change unless the schedule or
  ///   the sizes of progressive_resizing depend on it. Also when progressive_resizing needs a size that the model
  ///   doesn't allow.
  Trainer(Graph graph, ModelInfo info, const Dataset& train, const Dataset* validation, const TrainOptions& options);
  /// A temporary data set would be destroyed before run().
  Trainer(Graph graph, ModelInfo info, const Dataset&& train, const Dataset* validation,
          const TrainOptions& options) = delete;
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// Returns the model in training, to read or set weights, read gradients, evaluate or make a predictor between two
  /// calls of run(). It must not be moved from. Its own steps and checkpoints aren't the run's: the trainer doesn't
  /// count them.
  TrainingSession& session();
  /// Returns the precision in use; `automatic` is resolved to the chosen one.
  Precision precision() const;
  /// Returns the planned memory in bytes: a step's activations, gradients and scratch, the parameters, the optimiser's
  /// state, the batches that are decoded ahead and the counts of validation.
  std::int64_t planned_bytes() const;
  Parameters& parameters();
  /// Returns the parameters that are validated: with ema_decay the average, otherwise parameters().
  Parameters& evaluated_parameters();

  /// Trains up to the last epoch, or until `patience` ends the run. Returns false when `stop` ended it earlier;
  /// everything is saved by then, and another call continues from there. After a stop during validation, another call
  /// validates the remaining images only, whereas a resumed run validates all images again.
  /// @param sinks are told what happens (see TrainSink). They must not be null.
  /// @param stop is called after every step and every batch of validation, as sinks are; if it returns true, run()
  ///   saves and returns.
  /// @throws Error when a loss is non-finite, naming step, head and the last good checkpoint; when a weight or its
  ///   gradient is non-finite, naming the parameter, at the step where that appears; when an image can't be read (the
  ///   steps before it are saved, as after a stop); or when a checkpoint can't be written (no progress of the epoch is
  ///   lost: another call continues).
  bool run(const std::vector<TrainSink*>& sinks = {}, const std::function<bool()>& stop = {});

 private:
  struct FACET_NO_EXPORT State;
  std::unique_ptr<State> state_;
};

}  // namespace facet
