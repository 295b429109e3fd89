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
#include "facet/train.h"
#include "inference/batch_programs.h"
#include "inference/evaluation.h"
#include "interchange/pretrained.h"
#include "optim/optimizer.h"
#include "program/choices.h"
#include "program/program.h"
#include "train/metrics_files.h"
#include "train/run_folder.h"
#include "train/run_options.h"
#include "train/schedule.h"
#include "train/training_state.h"

namespace facet {

/// A run: what it trains with, and where it stands. Construction is in trainer.cpp, running in run_loop.cpp.
struct Trainer::State {
  State(Graph model_graph, ModelInfo model_info, const Dataset& train_set, const Dataset* validation_set,
        const TrainOptions& asked);

  bool run(const TrainObserver& observer);

  std::int64_t planned_bytes() const;

  Precision precision = Precision::f32;
  std::optional<Parameters> parameters;
  std::optional<Parameters> average;  ///< of the parameters; none unless weights are averaged

  /// What is validated, and saved as the best: the average, where there is one.
  Parameters& evaluated() { return average ? *average : *parameters; }

 private:
  using Clock = std::chrono::steady_clock;

  /// A function of the user's, to be called with the floating-point control and the number of threads of the user's
  /// program. What is empty stays so.
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
  /// Locks the folder. Returns the checkpoint of the run to go on with; null: a new one.
  std::unique_ptr<const train::LastCheckpoint> open_folder();
  [[noreturn]] void refuse_run() const;
  /// Holds what a new run begins with against the model.
  void open_pretrained();
  /// Those of the run that goes on, else those asked for, else the folder's.
  void load_choices(bool resumed);
  /// For what a user asked; `automatic` takes what is recorded before it measures.
  void choose_precision(const train::RunRecord* record);
  /// For the next run()'s observer; nothing when empty.
  void note(std::string text) {
    if (!text.empty()) notes_.push_back(std::move(text));
  }
  /// What the choice cache knows the faster precision by.
  std::string measured_precision_key() const;
  program::ProgramOptions program_options(program::Mode mode);
  /// Compiles the programs that surely run, holds their memory against what there is, and makes the loaders.
  void compile();
  void check_memory(std::int64_t bytes) const;
  void make_loaders();
  void resume(const train::LastCheckpoint& last);

  // Running.
  bool out_of_patience() const;
  bool run_epoch(const TrainObserver& observer);
  /// The loader's next batch; null at the end. What was done before `state_` is saved where it can't be read.
  const Batch* next_batch(Loader& loader);
  /// Trains a step's batches. False: the epoch had no more.
  bool step(StepResult& result);
  /// Trains the step's next batch. False likewise.
  bool train_batch(StepResult& result);
  /// Whether the batch that was done last ended its step (none was: true).
  bool at_end_of_step() const;
  /// Adds a batch's answers to the epoch's sums and to the step's loss.
  void count(std::span<const program::HeadView> heads, std::int64_t images, StepResult& result);
  /// Tells what the epoch's sums come to.
  void tell_progress(StepResult& result) const;
  /// None when `stop` said so; the next call goes on with the batches that are left.
  std::optional<std::vector<HeadResult>> validate(const std::function<bool()>& stop);
  void finish_epoch(std::vector<HeadResult> validation, const TrainObserver& observer);
  /// Saves with the time that the epoch took so far.
  void save_within_epoch();
  /// A checkpoint that stands at `state`.
  void save_last(const train::TrainingState& state);
  /// Held before anything is saved: a ReLU takes a weight that is no number for 0, and the loss stays finite.
  void require_finite_parameters() const;
  bool checkpoint_due() const;
  /// The choices may have grown by a program that was compiled.
  void save_choices();
  double epoch_seconds() const;
  /// Of the step in progress: "step 165 (epoch 3, batch 7 of 79)".
  std::string place() const;
  std::string last_good() const;

  TrainOptions options_;
  ModelInfo info_;
  Graph graph_;
  const Dataset& train_;
  const Dataset* validation_;
  train::ThreadPlan threads_;
  std::optional<train::RunFolder> folder_;
  std::optional<train::MetricsFiles> metrics_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::optional<interchange::Pretrained> pretrained_;  ///< until they are loaded
  std::vector<kernels::LossRule> losses_;              ///< of training, by head
  nlohmann::ordered_json fixed_options_;               ///< with the precision that was chosen
  program::Choices choices_;
  std::size_t saved_choices_ = 0;
  std::int64_t available_;  ///< bytes, before anything was allocated
  std::size_t arena_bytes_ = 0;
  base::Arena arena_;
  std::optional<inference::BatchPrograms> training_programs_;
  std::optional<inference::BatchPrograms> evaluation_programs_;
  std::optional<Loader> loader_;
  std::optional<Loader> validation_loader_;
  std::optional<train::Schedule> schedule_;
  std::vector<HeadPrediction> predictions_;

  std::function<void(bool)> saving_;  ///< the observer's
  train::TrainingState state_;
  train::TrainingState step_begin_;                  ///< `state_` before the step in progress
  std::optional<inference::Evaluation> evaluation_;  ///< of a validation that was stopped
  std::int64_t evaluated_batches_ = 0;               ///< that it has seen
  std::string validation_data_;                      ///< fingerprint; empty without a validation set
  std::int64_t saved_step_ = -1;                     ///< of the last checkpoint; -1: none yet
  Clock::time_point saved_at_;
  Clock::time_point epoch_began_;
  std::vector<std::string> notes_;  ///< for the next run()'s observer
};

}  // namespace facet
