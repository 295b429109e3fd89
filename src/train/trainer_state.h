#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/memory.h"
#include "base/parallel.h"
#include "facet/inference.h"
#include "facet/threads.h"
#include "facet/training.h"
#include "formats/pretrained.h"
#include "inference/evaluation.h"
#include "kernels/loss.h"
#include "optim/optimizer.h"
#include "program/batch_programs.h"
#include "program/program.h"
#include "program/tuning_record.h"
#include "train/metrics_files.h"
#include "train/recipe.h"
#include "train/run_folder.h"
#include "train/run_options.h"
#include "train/training_state.h"

namespace facet {

/// The implementation of Trainer: the parts of a run and its progress. trainer.cpp constructs it, run_loop.cpp runs it.
struct Trainer::State {
  State(Graph model_graph, ModelInfo model_info, const Dataset& train_set, const Dataset* validation_set,
        const TrainOptions& asked);
  /// Waits for the last step's updates, whose errors are lost.
  ~State();

  bool run(const TrainObserver& observer);

  std::int64_t planned_bytes() const;

  Precision precision = Precision::f32;
  std::optional<Parameters> parameters;
  std::optional<Parameters> average;  ///< moving average of the parameters; nothing unless ema_decay is set

  /// The parameters that are validated and saved as the best: the average where there is one.
  Parameters& evaluated() { return average ? *average : *parameters; }
  /// Waits for the last step's updates; called before anything but a step reads the parameters.
  /// @throws Error naming the step where an update has failed.
  void finish_updates() const;

 private:
  using Clock = std::chrono::steady_clock;

  /// Wraps a user's function so that it runs with the floating-point control and the number of threads of the user's
  /// program. An empty function stays empty.
  template <class Result, class... Arguments>
  static std::function<Result(Arguments...)> outside(base::ComputeScope& scope,
                                                     const std::function<Result(Arguments...)>& function) {
    if (!function) return {};
    return [&scope, function](Arguments... arguments) {
      const base::ComputeScope::Suspension suspension(scope);
      return function(arguments...);
    };
  }

  // Construction.
  void check_data() const;
  void freeze();
  void note_balanced_classes();
  /// Locks the folder. Returns the checkpoint of the run to resume, or null for a new run.
  std::unique_ptr<const train::LastCheckpoint> open_folder();
  [[noreturn]] void refuse_run() const;
  /// Opens the pretrained weights of a new run and checks that they fit the model.
  void open_pretrained();
  /// Loads the folder's tuning record for a resumed run, else the requested file, else the folder's; then adds the
  /// entries of the tuning cache where tuning is on.
  void load_tuning_record(bool resumed);
  /// Sets the precision that the options request. `automatic` takes a recorded precision where there is one, else it
  /// measures.
  void choose_precision(const train::RunRecord* record);
  /// Keeps a note for the observer of the next run(); ignores an empty one.
  void note(std::string text) {
    if (!text.empty()) notes_.push_back(std::move(text));
  }
  /// The key under which the tuning cache holds the faster precision.
  std::string measured_precision_key() const;
  program::ProgramOptions program_options(program::Mode mode);
  /// Makes the parameters, compiles the programs that every run needs and checks that the memory suffices.
  void compile();
  void check_memory(std::int64_t bytes) const;
  void make_loaders();
  void resume(const train::LastCheckpoint& last);

  // Running.
  bool out_of_patience() const;
  bool run_epoch(const TrainObserver& observer);
  /// The loader's next batch; null at the end. Where it can't be read, saves the steps before it and throws Error.
  const Batch* next_batch(Loader& loader);
  /// Trains the batches of one step. Returns false where the epoch has no more batches.
  bool step(StepResult& result);
  /// Trains the step's next batch. Returns false where the epoch has no more batches.
  bool train_batch(StepResult& result);
  /// Whether the last finished batch ended its step; true before the first batch.
  bool at_end_of_step() const;
  /// Adds a batch's results to the epoch's sums and to the step's loss.
  void count(std::span<const program::HeadView> heads, std::int64_t images, StepResult& result);
  /// Fills in the step's result from the epoch's sums.
  void tell_progress(StepResult& result) const;
  /// Validates the parameters. Returns nothing when `stop` returned true; the next call continues with the batches
  /// left.
  std::optional<std::vector<HeadResult>> validate(const std::function<bool()>& stop);
  void finish_epoch(std::vector<HeadResult> validation, const TrainObserver& observer);
  /// Saves the last checkpoint between two steps, with the time that the epoch has taken so far.
  void save_within_epoch();
  /// Saves the last checkpoint with the progress `state`.
  void save_last(const train::TrainingState& state);
  /// Called before anything is saved, since a ReLU turns NaN into 0 and the loss then stays finite.
  void require_finite_parameters() const;
  bool checkpoint_due() const;
  /// Saves the tuning record where compiling a program has added entries.
  void save_tuning_record();
  double epoch_seconds() const;
  /// The step in progress as messages name it: "step 165 (epoch 3, batch 7 of 79)".
  std::string place() const;
  /// The part of a message that names the last good checkpoint.
  std::string last_good() const;

  TrainOptions options_;
  ModelInfo info_;
  Graph graph_;
  const Dataset& train_;
  const Dataset* validation_;
  ThreadPlan threads_;
  std::optional<train::RunFolder> folder_;
  std::optional<train::MetricsFiles> metrics_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::shared_ptr<optim::GradientPolicy> gradient_policy_;
  std::optional<formats::Pretrained> pretrained_;  ///< opened but not loaded yet
  std::vector<kernels::LossRule> losses_;          ///< the training losses, by head
  nlohmann::ordered_json fixed_options_;           ///< as fixed_options() returns them
  program::TuningRecord tuning_record_;
  std::size_t saved_tuning_entries_ = 0;
  std::int64_t available_;  ///< bytes of memory available at the beginning of the construction
  std::size_t arena_bytes_ = 0;
  base::Arena arena_;
  std::optional<program::BatchPrograms> training_programs_;
  std::optional<program::BatchPrograms> evaluation_programs_;
  std::optional<Loader> loader_;
  std::optional<Loader> validation_loader_;
  std::optional<train::Schedule> schedule_;
  std::vector<HeadPrediction> predictions_;

  std::function<void(bool)> saving_;  ///< the observer's function
  train::TrainingState state_;
  train::TrainingState step_begin_;                  ///< `state_` before the step in progress
  std::optional<inference::Evaluation> evaluation_;  ///< the metrics of a validation that was stopped
  std::int64_t evaluated_batches_ = 0;               ///< batches that evaluation_ has seen
  std::string validation_data_;                      ///< its fingerprint(); empty without a validation set
  std::int64_t saved_step_ = -1;                     ///< the step of the last checkpoint; -1: none yet
  Clock::time_point saved_at_;
  Clock::time_point epoch_began_;
  std::vector<std::string> notes_;  ///< for the observer of the next run()
};

}  // namespace facet
