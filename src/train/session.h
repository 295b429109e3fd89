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
#include "comm/bucket_exchange.h"
#include "comm/communicator.h"
#include "facet/inference.h"
#include "facet/sampler.h"
#include "facet/session.h"
#include "facet/threads.h"
#include "formats/pretrained.h"
#include "inference/evaluation.h"
#include "kernels/loss.h"
#include "optim/gradient_policy.h"
#include "optim/optimizer.h"
#include "program/batch_programs.h"
#include "program/layout_plan.h"
#include "program/program.h"
#include "program/tuning_record.h"
#include "train/slot_shards.h"

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
  /// This process's shares of the batches that are planned before the first step; others are compiled when they come.
  struct BatchSizes {
    std::vector<std::int64_t> training, evaluation;
    std::int64_t first_evaluation = 0;  ///< rank 0's share of an evaluation's full batch, for which it is tuned
  };

  /// Checks options and graph, and freezes weights. All processes of the options construct it together, and call its
  /// functions together, except those that say otherwise.
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
  /// Sets the precision that the options request. `automatic` takes the recorded one where there is one, else rank 0
  /// measures. @param recorded "f32", "bf16" or "", on rank 0.
  /// @throws Error when a process can't compute in the precision of rank 0.
  void choose_precision(std::string recorded);
  /// Makes the parameters and compiles the programs of these batch sizes; `losses` must be set. Rank 0 tunes, and its
  /// layout plan and tuning record are those of all processes.
  /// @throws Error when the memory doesn't suffice.
  void compile(const BatchSizes& sizes);
  /// Sets all values and the average to those of rank 0.
  void broadcast_parameters();
  /// @throws Error when `bytes`, for each process on this machine, are more than were available when the session was
  /// made. Of this process alone.
  void require_memory(std::int64_t bytes, std::optional<ImageSize> size = {}) const;
  /// Allocates the arena. Of this process alone.
  void allocate();
  /// The processes that train together.
  comm::Communicator& group() const { return options.processes.communicator(); }
  bool is_first_rank() const { return group().rank() == 0; }
  /// This process's share of `images`.
  PositionRange share(std::int64_t images) const { return share_of(images, group().rank(), group().size()); }
  /// Forgets the batches of an unfinished step.
  void begin_step() { batches_of_step = images_of_step = 0; }

  std::int64_t planned_bytes() const;
  /// How this process's share of `images` images is loaded to be evaluated.
  LoaderOptions evaluation_loading(std::int64_t images) const;
  /// The optimiser's slots of all processes.
  train::SlotShards slots() { return {group(), gradient_policy->exchange(), *parameters}; }
  /// The parameters that are evaluated: the average where there is one.
  Parameters& evaluated() { return average ? *average : *parameters; }
  /// Compiles the training programs for images of another size, unless they are for that size already. All processes
  /// call it together, between two steps. The model must allow the size (graph::with_input).
  void set_training_size(ImageSize size);
  /// Checks that the program for this process's share of a batch exists, or compiles it. Of this process alone.
  void prepare(std::int64_t images);
  /// The program that trains this process's share of a batch; of an empty one that of the full batch, which then takes
  /// part in the communication. Compiled as by prepare().
  program::Program& training_program(std::int64_t images);
  /// Runs one batch of a step. @param batch this process's share, which may be empty; prepare() was called for it.
  /// @param step `rank_images` are the sizes of all shares, and `first_image` that of the whole batch.
  /// @return the heads' losses over the images of all processes, valid until the next run.
  std::span<const program::HeadView> train(const Batch& batch, const program::RunInput& step);
  /// Runs the model on this process's share of a batch and adds its results to `evaluation`. Of this process alone.
  void evaluate(const Batch& batch, inference::Evaluation& evaluation);
  /// Waits for the last step's updates, of all processes; called by all of them before anything but a step reads the
  /// parameters or their average.
  /// @throws Error when an update has failed.
  void finish_updates();
  /// What exchanging gradients and weights has taken in this process so far; 0 in one process.
  comm::ExchangeTimes exchange_times() const {
    const comm::BucketExchange* const exchange = gradient_policy->exchange();
    return exchange != nullptr ? exchange->times() : comm::ExchangeTimes();
  }
  /// Seconds that this process has waited for communication so far: for that exchange, and in all others.
  double communication_seconds() const { return exchange_times().waited + group().blocked_seconds(); }
  /// The name of the first parameter with a non-finite value; empty if there is none.
  std::string find_not_finite() const;

  /// Keeps a line of information for the user; ignores an empty one.
  void note(std::string text) {
    if (!text.empty()) notes.push_back(std::move(text));
  }

  TrainOptions options;
  ModelInfo info;
  Graph graph;
  std::int64_t whole_batch;  ///< images of a full batch, of all processes together
  std::int64_t full_batch;   ///< this process's share of it
  std::int64_t available;    ///< bytes of memory available at the beginning of the construction
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
  /// Turns the stored sum of the last step's gradients into their mean; 0: no step yet, or the last one has failed.
  float gradient_scale = 0;
  // Of a session that a caller of the library steps:
  std::int64_t batches_of_step = 0;  ///< of the unfinished step
  std::int64_t images_of_step = 0;
  std::optional<double> best_score;
  std::optional<Parameters> best;  ///< the kept copy

 private:
  void choose_own_precision(std::string recorded);
  /// The key under which the tuning cache holds the faster precision.
  std::string measured_precision_key() const;
  /// Adds new measurements to the tuning cache: compiling a program may have timed primitives.
  void keep_measurements();
  program::ProgramOptions program_options(program::Mode mode);
  /// Compiles the training programs for images of this size, and plans those of the planned batches. Of this process
  /// alone.
  void compile_training(ImageSize size);
  /// Makes the parameters, placed by `plan`, and compiles the programs.
  void compile_programs(program::LayoutPlan plan, const BatchSizes& sizes);

  /// A step has run since finish_updates(): other processes' parts of the weights and of the average may be missing.
  bool is_exchanging_ = false;
  std::optional<formats::Pretrained> pretrained_;  ///< opened but not loaded yet
  std::size_t kept_measurements_ = 0;
  std::size_t arena_bytes_ = 0;
  base::Arena arena_;
  std::vector<std::int64_t> planned_batches_;  ///< this process's shares of the training batches that are planned
  std::size_t training_held_bytes_ = 0;        ///< the most that training programs have held
  std::optional<ImageSize> training_size_;     ///< of the training programs; nothing where compiling them has failed
  std::optional<Graph> resized_;               ///< the graph for that size where it isn't the model's
  std::optional<program::BatchPrograms> training_programs_;
  std::optional<program::BatchPrograms> evaluation_programs_;
  std::vector<HeadPrediction> predictions_;
};

}  // namespace facet
