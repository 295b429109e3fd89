#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/memory.h"
#include "base/parallel.h"
#include "facet/inference.h"
#include "facet/session.h"
#include "facet/threads.h"
#include "formats/pretrained.h"
#include "inference/evaluation.h"
#include "kernels/loss.h"
#include "optim/gradient_policy.h"
#include "optim/optimizer.h"
#include "program/batch_programs.h"
#include "program/program.h"
#include "program/tuning_record.h"

namespace facet {
namespace train {

/// Wraps a user's function so that it runs with the floating-point control and the number of threads of the user's
/// program. An empty function stays empty.
template <class Result, class... Arguments>
std::function<Result(Arguments...)> outside(base::ComputeScope& scope,
                                            const std::function<Result(Arguments...)>& function) {
  if (!function) return {};
  return [&scope, function](Arguments... arguments) {
    const base::ComputeScope::Suspension suspension(scope);
    return function(arguments...);
  };
}

/// Calls a user's function before each measurement of a tuning record, as long as it lives.
class TuningObserver {
 public:
  TuningObserver(program::TuningRecord& record, base::ComputeScope& scope, const std::function<void(int)>& function)
      : record_(record) {
    record_.observe(outside(scope, function));
  }
  ~TuningObserver() { record_.observe({}); }
  TuningObserver(const TuningObserver&) = delete;
  TuningObserver& operator=(const TuningObserver&) = delete;

 private:
  program::TuningRecord& record_;
};

}  // namespace train

/// The implementation of TrainingSession. It is made in stages, between which a Trainer opens its folder and its data:
/// construction, open_pretrained(), the tuning record, choose_precision(), compile(), allocate(). From
/// choose_precision() on, all functions are called inside a base::ComputeScope of `threads.compute` threads.
struct TrainingSession::State {
  /// Sizes of the batches that are planned before the first step; others are compiled when they come.
  struct BatchSizes {
    std::vector<std::int64_t> training, evaluation;
  };

  /// Checks options and graph, and freezes weights.
  /// @param max_images the full batch has the options' number of images, but at most this many.
  State(Graph model_graph, ModelInfo model_info, const TrainOptions& requested, std::int64_t max_images);
  /// Waits for the last step's updates, whose errors are lost.
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  /// Opens the pretrained weights that the options name and checks that they fit the model.
  void open_pretrained();
  /// Adds the entries of the tuning cache where tuning is on.
  void read_tuning_cache();
  /// Notes if OpenMP provides fewer threads than planned, which are then the number in use.
  void take_threads(const base::ComputeScope& scope);
  /// Sets the precision that the options request. `automatic` takes the recorded one where there is one, else it
  /// measures. @param recorded "f32", "bf16" or "".
  void choose_precision(std::string recorded);
  /// Makes the parameters and compiles the programs of these batch sizes; `losses` must be set.
  /// @throws Error when the memory doesn't suffice.
  void compile(const BatchSizes& sizes);
  /// @throws Error when `bytes` are more than were available when the session was made.
  void require_memory(std::int64_t bytes) const;
  /// Allocates the arena.
  void allocate();
  /// Forgets the batches of an unfinished step.
  void begin_step() { batches_of_step = images_of_step = 0; }

  std::int64_t planned_bytes() const;
  /// The parameters that are evaluated: the average where there is one.
  Parameters& evaluated() { return average ? *average : *parameters; }
  /// Runs one batch of a step. @return the heads' losses, valid until the next run.
  std::span<const program::HeadView> train(const Batch& batch, const program::RunInput& step);
  /// Runs the model on a batch and adds its results to `evaluation`.
  void evaluate(const Batch& batch, inference::Evaluation& evaluation);
  /// Waits for the last step's updates; called before anything but a step reads the parameters.
  /// @throws Error when an update has failed.
  void finish_updates() const { gradient_policy->wait(); }
  /// The name of the first parameter with a non-finite value; empty if there is none.
  std::string find_not_finite() const;

  /// Keeps a line of information for the user; ignores an empty one.
  void note(std::string text) {
    if (!text.empty()) notes.push_back(std::move(text));
  }

  TrainOptions options;
  ModelInfo info;
  Graph graph;
  std::int64_t full_batch;
  std::int64_t available;  ///< bytes of memory available at the beginning of the construction
  ThreadPlan threads;
  std::unique_ptr<optim::Optimizer> optimizer;
  std::shared_ptr<optim::GradientPolicy> gradient_policy;
  std::vector<kernels::LossRule> losses;  ///< the training losses, by head
  program::TuningRecord tuning_record;
  Precision precision = Precision::f32;
  std::optional<Parameters> parameters;
  std::optional<Parameters> average;  ///< moving average of the parameters; nothing unless ema_decay is set
  std::vector<std::string> notes;     ///< for the user

  std::int64_t finished_steps = 0;  ///< of the optimiser
  float gradient_scale = 0;  ///< turns the stored sum of the last step's gradients into their mean; 0: no step yet
  // Of a session that a caller of the library steps:
  std::int64_t batches_of_step = 0;  ///< of the unfinished step
  std::int64_t images_of_step = 0;
  std::optional<double> best_score;
  std::optional<Parameters> best;  ///< the kept copy

 private:
  /// The key under which the tuning cache holds the faster precision.
  std::string measured_precision_key() const;
  /// Adds new measurements to the tuning cache: compiling a program may have timed primitives.
  void keep_measurements();
  program::ProgramOptions program_options(program::Mode mode);

  std::optional<formats::Pretrained> pretrained_;  ///< opened but not loaded yet
  std::size_t kept_measurements_ = 0;
  std::size_t arena_bytes_ = 0;
  base::Arena arena_;
  std::optional<program::BatchPrograms> training_programs_;
  std::optional<program::BatchPrograms> evaluation_programs_;
  std::vector<HeadPrediction> predictions_;
};

}  // namespace facet
