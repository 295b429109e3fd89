#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "facet/sinks.h"
#include "facet/training.h"
#include "inference/evaluation.h"
#include "train/histograms.h"
#include "train/recipe.h"
#include "train/run_folder.h"
#include "train/run_options.h"
#include "train/session.h"
#include "train/step_profiler.h"
#include "train/training_state.h"

namespace facet {

/// The implementation of Trainer: a session, the data sets, the run's folder and its progress. trainer.cpp constructs
/// it, run_loop.cpp runs it.
struct Trainer::State {
  State(Graph graph, ModelInfo info, const Dataset& train_set, const Dataset* validation_set,
        const TrainOptions& requested);

  bool run(const std::vector<TrainSink*>& sinks, const std::function<bool()>& stop);

  std::int64_t planned_bytes() const;
  /// Waits for the last step's updates; called on all processes before anything but a step reads the parameters.
  /// @throws Error naming the step where an update has failed.
  void finish_updates() const;

  TrainingSession session;

 private:
  using Clock = std::chrono::steady_clock;

  // Construction.
  /// The processes that train together. Functions are called on all of them unless they say otherwise.
  comm::Communicator& group() const { return s_.group(); }
  void check_data() const;
  /// On rank 0: opens the folder, its sinks, the pretrained weights and the tuning record. Returns the checkpoint of
  /// the run to resume, or null for a new run.
  std::unique_ptr<const train::LastCheckpoint> prepare_folder();
  /// @throws Error where a process has other options or data than rank 0.
  void require_same_in_all() const;
  /// Takes over rank 0's progress, which it may have read from a checkpoint, and its parameters.
  void take_progress();
  void note_balanced_classes();
  /// Notes that a tuning record that the options name hadn't all choices.
  void note_missing_choices();
  /// Locks the folder. Returns the checkpoint of the run to resume, or null for a new run.
  std::unique_ptr<const train::LastCheckpoint> open_folder();
  [[noreturn]] void refuse_run() const;
  /// Loads the folder's tuning record for a resumed run, else the requested file, else the folder's; then adds the
  /// entries of the tuning cache where tuning is on.
  void load_tuning_record(bool resumed);
  /// The sizes of the batches of an epoch and of a validation.
  TrainingSession::State::BatchSizes batch_sizes() const;
  /// @throws Error where images are mixed and their targets can't be.
  void check_mixing() const;
  void make_loaders();
  LoaderOptions loading(ImageSize size) const;
  /// The epochs of the run from `first` on that have images of one size, in order.
  struct SizedEpochs {
    ImageSize size;
    std::int64_t first, last;
  };
  std::vector<SizedEpochs> sized_epochs(std::int64_t first) const;
  /// @throws Error where progressive_resizing needs a size that the model doesn't allow.
  void check_sizes() const;
  /// Compiles, and so tunes and plans, what the epochs left need for images of each size; ends with that of the present
  /// epoch.
  void prepare_sizes();
  /// Loads and trains images of the present epoch's size from now on.
  void take_size();
  /// Takes over the progress and the parameters of a checkpoint. On rank 0.
  void resume(const train::LastCheckpoint& last, const train::WriteSlot& write);

  // Running.
  /// Calls a function of each sink: of the run's own files, which rank 0 has, then of the user's. Of this process
  /// alone.
  void tell_all(const std::function<void(TrainSink&)>& tell);
  void tell_users(const std::function<void(TrainSink&)>& tell);
  RunInfo run_info() const;
  /// The number of images in an epoch.
  std::int64_t epoch_images() const { return train::epoch_images(s_.options, train_); }
  std::int64_t steps_per_epoch() const {
    return (loader_->batches_per_epoch() + s_.options.accumulate - 1) / s_.options.accumulate;
  }
  /// The session's notes, and those of the other processes, which their ranks precede.
  std::vector<std::string> take_all_notes();
  bool has_folder() const { return !s_.options.out.empty(); }
  bool out_of_patience() const;
  bool run_epoch(const std::function<bool()>& stop);
  /// The loader's next batch; null at the end. Where it can't be read, saves the steps before it and throws Error.
  const Batch* next_batch(Loader& loader);
  /// Whether the step in progress is one of TrainOptions::histogram_every.
  bool wants_histograms() const {
    return s_.options.histogram_every > 0 && (state_.step + 1) % s_.options.histogram_every == 0;
  }
  /// Trains the batches of one step. Returns false where the epoch has no more batches.
  bool step(StepResult& result);
  /// Trains the step's next batch. Returns false where the epoch has no more batches.
  bool train_batch(StepResult& result);
  /// Whether the step that begins has full batches only, and as many of them as most steps.
  bool begins_full_step() const;
  /// Tells the profile, after which nothing more is profiled.
  void tell_profile();
  /// Whether the last finished batch ended its step; true before the first batch.
  bool at_end_of_step() const;
  /// The share of each process of the epoch's batch `index`.
  std::vector<std::int64_t> rank_images(std::int64_t index) const;
  /// What comes after a step; the greatest of all processes' wishes is done.
  enum class Next : std::uint8_t { step, save, end };
  Next after_step(const StepResult& result, const std::function<bool()>& stop);
  /// Asks the user's function whether to stop; true on all processes if it is true on one.
  bool asks_to_stop(const std::function<bool()>& stop);
  /// Adds a batch's results to the epoch's sums and to the step's losses.
  void count(std::span<const program::HeadView> heads, std::int64_t images, StepResult& result);
  /// The training accuracy of a head in this epoch so far; NaN if its loss has none, or no image a label.
  double train_accuracy(std::size_t head) const;
  /// Fills in the step's result from the epoch's sums.
  void tell_progress(StepResult& result) const;
  /// Validates the parameters. Returns nothing when `stop` returned true; the next call continues with the batches
  /// left.
  std::optional<std::vector<HeadResult>> validate(const std::function<bool()>& stop);
  void finish_epoch(std::vector<HeadResult> validation);
  /// The epoch's result, without `best`.
  EpochResult epoch_result(std::vector<HeadResult> validation) const;
  /// Saves the last checkpoint between two steps, with the time that the epoch has taken so far.
  void save_within_epoch();
  /// Saves the last checkpoint with the progress `state`. On rank 0.
  void save_last(const train::TrainingState& state, const train::ReadSlot& read);
  /// Calls `save` on rank 0, telling the sinks when it begins and ends.
  void save(const std::function<void(const train::ReadSlot&)>& save);
  /// Called before anything is saved, since a ReLU turns NaN into 0 and the loss then stays finite.
  void require_finite_parameters() const;
  /// Called before anything is saved: all processes have updated the same weights by the same gradients, and so must
  /// have the same bits.
  void require_equal_parameters() const;
  bool checkpoint_due() const;
  /// Saves the tuning record where compiling a program has added entries.
  void save_tuning_record();
  double epoch_seconds() const;
  /// The step in progress as messages name it: "step 165 (epoch 3, batch 7 of 79)".
  std::string place() const;
  /// The part of a message that names the last good checkpoint.
  std::string last_good() const;

  TrainingSession::State& s_;  ///< the session's
  const Dataset& train_;
  const Dataset* validation_;
  std::optional<train::RunFolder> folder_;  ///< on rank 0
  std::vector<std::unique_ptr<TrainSink>> file_sinks_;
  nlohmann::ordered_json fixed_options_;  ///< as fixed_options() returns them
  std::size_t saved_tuning_entries_ = 0;
  std::unique_ptr<Loader> loader_;
  std::optional<ImageSize> loader_size_;  ///< of its images
  std::int64_t loader_bytes_ = 0;         ///< what it holds at most; with progressive_resizing, it and the next one
  BatchPlan plan_;                        ///< of the epochs' batches
  std::optional<Loader> validation_loader_;
  std::optional<train::Schedule> schedule_;

  std::vector<TrainSink*> sinks_;        ///< the user's
  base::ComputeScope* scope_ = nullptr;  ///< of the present run()
  train::TrainingState state_;
  train::TrainingState step_begin_;                     ///< `state_` before the step in progress
  std::vector<train::MeanLoss> step_sums_;              ///< of the step in progress, by head
  std::optional<train::HistogramCollector> collector_;  ///< of the last step, if its histograms are wanted
  std::optional<train::StepProfiler> profiler_;         ///< until its profile is told
  std::optional<inference::Evaluation> evaluation_;     ///< the metrics of a validation that was stopped
  std::int64_t evaluated_batches_ = 0;                  ///< batches that evaluation_ has seen
  std::string validation_data_;                         ///< its fingerprint(); empty without a validation set
  bool is_begun_ = false;                               ///< the sinks know the run: it is resumed, or run() was called
  std::int64_t saved_step_ = -1;                        ///< the step of the last checkpoint; -1: none yet
  Clock::time_point saved_at_;
  Clock::time_point epoch_began_;
};

}  // namespace facet
