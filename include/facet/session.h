#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "facet/dataset.h"
#include "facet/export.h"
#include "facet/graph.h"
#include "facet/image.h"
#include "facet/inference.h"
#include "facet/loader.h"
#include "facet/metrics.h"
#include "facet/model_file.h"
#include "facet/parameters.h"
#include "facet/precision.h"
#include "facet/train_options.h"

namespace facet {

/// How TrainingSession::step uses a batch.
struct StepOptions {
  std::optional<double> learning_rate = {};  ///< of this step; empty: TrainOptions::learning_rate
  /// Of this step: the momentum of SGD and LARS, beta1 of Adam, AdamW and LAMB; empty: the options' own.
  std::optional<double> momentum = {};
  /// False: the batch's gradients are added to those of the step, which the next batch continues. Only allowed if
  /// TrainOptions::accumulate is above 1.
  bool update = true;
};

/// The result of a head for one batch.
struct HeadStep {
  /// The mean training loss, with the options' smoothing and class weights but without the head's weight; NaN if the
  /// batch has no target of the head.
  double loss = 0;
  std::int64_t labelled = 0;  ///< as HeadResult::labelled
  std::int64_t correct = 0;   ///< those of `labelled` that are predicted correctly, see HeadResult::accuracy
};

/// The result of one batch.
struct BatchResult {
  std::int64_t step = 0;             ///< the number of the optimiser's step that the batch belongs to, from 1
  double loss = 0;                   ///< the sum of the heads' losses that aren't NaN, each times the head's weight
  std::vector<HeadStep> heads = {};  ///< in the graph's order
};

/// A model in training, for loops of the caller's own: a graph with its parameters, the update rule's state and the
/// compiled programs. A session knows no data set, no epochs and no files, except those that its functions name;
/// Trainer adds these. Not thread-safe, but several sessions may run at the same time. A session neither prints nor
/// installs signal handlers. All member functions of a session that was moved from throw Error.
///
///     facet::Loader loader(data, {.batch = 64, .size = 48});
///     facet::TrainingSession session(std::move(graph), info, options);
///     for (int epoch = 1; epoch <= 10; ++epoch) {
///       loader.start_epoch(epoch);
///       while (const facet::Batch* batch = loader.next()) session.step(*batch);
///     }
///
/// In several processes (TrainOptions::processes), each has a session of the same model and options, and all call its
/// functions together, with the same arguments but for the images: step() takes this process's share of the batch, and
/// its result is that of all shares; evaluate() takes the whole data set and loads its share. All processes have the
/// same weights, and must set the same (set(), parameters()); rank 0 alone reads and writes files. What throws in one
/// process throws in all (see ProcessGroup::together).
///
/// Of TrainOptions, a session uses what describes a step: batch, the update rule and its numbers, learning_rate, the
/// losses' options, accumulate, clip_norm, ema_decay, freeze, keep_gradients, processes, sync_batch_norm, reduce,
/// lr_scale_batch, precision, threads, seed, tune, save_memory, tuning_record, tuning_cache, on_tuning, pretrained and
/// split_head; evaluate() uses loader_threads. The others (epochs, schedule, patience, flip, augmentation,
/// progressive_resizing, drop_last, sampler and those of the run's folder) belong to Trainer: they are checked, but not
/// used. scheduled_learning_rate() and scheduled_momentum() give a schedule's values.
class FACET_EXPORT TrainingSession {
 public:
  /// Checks the options, chooses the precision and the primitives, and allocates the memory of a step.
  /// @param info names the model and its heads; they must equal those of the graph. A head's number of classes is its
  ///   number of outputs.
  /// @throws Error when an option is out of range; when class_weights are `balanced`, which needs a data set (see
  ///   balanced_class_weights); when bf16 is requested but not supported; when memory is insufficient; or when the
  ///   pretrained weights can't be read or don't fit.
  TrainingSession(Graph graph, ModelInfo info, const TrainOptions& options = {});
  ~TrainingSession();
  TrainingSession(TrainingSession&&) noexcept;
  TrainingSession& operator=(TrainingSession&&) noexcept;

  const Graph& graph() const;
  const ModelInfo& info() const;
  /// Returns the options that the session was made with.
  const TrainOptions& options() const;
  /// Returns the precision in use; `automatic` is resolved to the chosen one.
  Precision precision() const;
  /// Returns the number of compute threads in use.
  int threads() const;
  /// Returns the planned memory in bytes: a step's activations, gradients and scratch, the parameters and the
  /// optimiser's state; evaluate() and keep_if_best() may take more.
  std::int64_t planned_bytes() const;
  /// Returns lines of information for the user, such as the chosen precision, and forgets them.
  std::vector<std::string> take_notes();

  /// Trains one batch: forward, backward and, unless `step.update` is false, the update of all trained weights.
  /// @param batch at most TrainOptions::batch images of the model's size, as a Loader makes them; its `indices` aren't
  ///   used. A batch of another size compiles a program of its own first. In several processes it is this one's share,
  ///   at most that of rank 0 of a full batch, and empty where there is no image left for it.
  /// An error discards the batches of the unfinished step: the next call begins it anew.
  /// @throws Error when the batch or a number of `step` doesn't fit, before anything has changed; when a target is
  ///   wrong, a loss non-finite (naming the head) or a gradient that is accumulated or clipped non-finite (naming the
  ///   parameter): only running statistics may have changed; or when an update wrote a non-finite value, naming the
  ///   parameter: the weights are then of no use. What a custom_loss throws is passed on, as for a wrong target.
  BatchResult step(const Batch& batch, const StepOptions& step = {});
  /// Returns the number of the optimiser's finished steps.
  std::int64_t finished_steps() const;

  /// Returns the result of each head over a data set with the weights of now: with ema_decay the average's.
  /// @param stop called after every batch; if it returns true, the result covers the images so far. May be empty.
  /// @throws Error when the data set is empty or has other heads, when an image can't be read, or when a logit is
  ///   non-finite.
  std::vector<HeadResult> evaluate(const Dataset& data, const std::function<bool()>& stop = {});

  /// Returns the weights, which may be read and set (Parameters::get and set); a reference that is valid as long as the
  /// session. In several processes, it refers to the weights that others have updated in a step only once parameters()
  /// has been called again after that step, in all processes.
  Parameters& parameters();
  /// Returns the weights that evaluate() and predictor() use: with ema_decay their average, otherwise parameters().
  Parameters& evaluated_parameters();
  /// Returns the elements of a weight or statistic in PyTorch's order. @throws Error when no parameter has that name.
  std::vector<float> get(std::string_view name);
  /// Sets all elements of a weight or statistic, given in PyTorch's order.
  /// @throws Error when no parameter has that name, or when the number of values doesn't match its shape.
  void set(std::string_view name, const std::vector<float>& values);
  /// Returns the gradient of a weight in PyTorch's order, as the last step() computed it: the mean over the batches of
  /// the optimiser's step so far, before clipping, weight decay and the update rule.
  /// @throws Error unless TrainOptions::keep_gradients is set, when no trained parameter has that name, or before the
  ///   first step.
  std::vector<float> gradient(std::string_view name);

  /// Keeps a copy of evaluated_parameters() in memory if `score` is the highest so far; returns whether it is. NaN
  /// never is.
  bool keep_if_best(double score);
  /// Returns the highest score given to keep_if_best(); empty before the first.
  std::optional<double> best_score() const;
  /// Sets parameters(), and the average where there is one, to the kept copy. The update rule's state stays.
  /// @throws Error when nothing was kept.
  void restore_best();

  /// Returns a predictor with a copy of evaluated_parameters(). Further steps don't change it.
  /// @throws Error as Predictor's constructor does.
  Predictor predictor(const InferenceOptions& options = {});

  /// Returns what has been chosen so far, the precision and the primitives for all batch sizes in use: the content of
  /// a file for TrainOptions::tuning_record.
  std::string tuning_record() const;

  /// Writes evaluated_parameters() as a model file (see save_model).
  void save(const std::filesystem::path& file);
  /// Reads the weights of a model file into parameters(), and into the average where there is one. The update rule's
  /// state stays. @throws Error as load_weights does.
  void load(const std::filesystem::path& file);

  /// Writes weights, the update rule's state, the average and the number of finished steps to checkpoints/ in `folder`,
  /// and the chosen primitives to tuning.json there. A kill at any moment leaves the previous checkpoint or the new
  /// one.
  /// @throws Error when a step is unfinished (update = false), when a file can't be written, when another process uses
  ///   the folder, or when it holds a Trainer's run.
  void save_checkpoint(const std::filesystem::path& folder);
  /// Continues from the checkpoint in `folder`, of a session or of a Trainer's run. The results are bitwise the same as
  /// without the interruption if batches, options and threads are the same and TrainOptions::tuning_record names the
  /// folder's tuning.json.
  /// @throws Error naming the file and what doesn't fit, before anything has changed: the model, its heads, the kind of
  ///   update rule, or a tensor that is missing or of another shape. Also when a file is damaged; the session is then
  ///   of no use.
  void load_checkpoint(const std::filesystem::path& folder);

  struct FACET_NO_EXPORT State;
  FACET_NO_EXPORT explicit TrainingSession(std::unique_ptr<State> state);
  FACET_NO_EXPORT State& state() const;

 private:
  std::unique_ptr<State> state_;
};

/// Returns the learning rate that a schedule has in a step of a run.
/// @param step the optimiser's step, from 1. @param steps_per_epoch at least 1.
/// @throws Error when an option of the schedule or a number is out of range.
FACET_EXPORT double scheduled_learning_rate(const TrainOptions& options, std::int64_t steps_per_epoch,
                                            std::int64_t step);
/// Returns the momentum that a schedule has in a step; empty if the schedule doesn't change it. Otherwise as above.
FACET_EXPORT std::optional<double> scheduled_momentum(const TrainOptions& options, std::int64_t steps_per_epoch,
                                                      std::int64_t step);

/// Returns the size of the training images in an epoch of a run with TrainOptions::progressive_resizing: that of the
/// model times the epoch's scale, each side rounded to a multiple of 32 and at least 32, but never above the model's.
/// The scale rises in equal steps from epoch to epoch between those of the initial scale and those of the model's size.
/// @param size of the model's input. @param epoch from 1.
/// @throws Error when the options or a number are out of range.
FACET_EXPORT ImageSize scheduled_size(const TrainOptions& options, ImageSize size, std::int64_t epoch);

/// Returns the weights of a head's classes that ClassWeights::balanced stands for.
/// @throws Error when the data set doesn't have the head, or no image has a label of it.
FACET_EXPORT std::vector<double> balanced_class_weights(const Dataset& data, std::string_view head);

}  // namespace facet
