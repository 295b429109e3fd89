#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
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

namespace facet {

/// Update rules. Adam, AdamW and SGD are the same as PyTorch's optimisers of these names. LARS (You et al. 2017, "Large
/// Batch Training of Convolutional Networks", algorithm 1) and LAMB (You et al. 2020, "Large Batch Optimization for
/// Deep Learning", algorithm 2) scale the step of each parameter by the ratio of its norm to that of its gradient or
/// step; where a norm is 0, the ratio is 1.
enum class OptimizerKind : std::uint8_t { adam, adamw, sgd, lars, lamb };
/// Returns "adam", "adamw", "sgd", "lars" or "lamb". @throws Error when `kind` has another value.
FACET_EXPORT std::string_view to_string(OptimizerKind kind);
/// Parses the text that to_string returns. @throws Error naming the value and those allowed.
FACET_EXPORT OptimizerKind parse_optimizer(std::string_view text);

/// How the learning rate changes over the steps of a run.
struct LearningRateSchedule {
  enum class Kind : std::uint8_t {
    constant,
    step,      ///< is multiplied by gamma every step_size epochs (PyTorch: StepLR)
    cosine,    ///< falls to eta_min along half a cosine, step by step (Loshchilov and Hutter 2017; CosineAnnealingLR)
    one_cycle  ///< rises and falls along half cosines, step by step (Smith and Topin 2018; OneCycleLR)
  };
  Kind kind = Kind::constant;
  /// The number of epochs over which the rate first rises linearly from warmup_factor times the learning rate to the
  /// learning rate (LinearLR); the schedule itself begins after them. Not allowed with one_cycle.
  double warmup_epochs = 0;
  double warmup_factor = 0.01;
  std::int64_t step_size = 30;    ///< step: epochs between two changes of the rate
  double gamma = 0.1;             ///< step: the factor
  double eta_min = 0;             ///< cosine: the final rate
  double pct_start = 0.3;         ///< one_cycle: the share of the steps over which the rate rises
  double div_factor = 25;         ///< one_cycle: the rate starts at learning_rate / div_factor
  double final_div_factor = 1e4;  ///< one_cycle: the rate ends at learning_rate / div_factor / final_div_factor
  /// one_cycle: the momentum (beta1 of Adam, AdamW and LAMB; momentum of SGD and LARS unless it is 0) falls from
  /// max_momentum to base_momentum while the rate rises, and rises again while the rate falls. This replaces the
  /// configured value.
  bool cycle_momentum = true;
  double base_momentum = 0.85, max_momentum = 0.95;

  /// Returns whether the rates depend on the number of epochs; a resumed run then can't change that number.
  bool follows_epochs() const { return kind == Kind::cosine || kind == Kind::one_cycle; }
};
/// Returns "constant", "step", "cosine" or "one-cycle". @throws Error when `kind` has another value.
FACET_EXPORT std::string_view to_string(LearningRateSchedule::Kind kind);
/// Parses the text that to_string returns. @throws Error naming the value and those allowed.
FACET_EXPORT LearningRateSchedule::Kind parse_schedule(std::string_view text);

/// Class weights of a head's loss. The weighted loss is divided by the sum of the weights of the batch's labels
/// (PyTorch: cross_entropy).
struct ClassWeights {
  /// Gives all classes the same total weight: a class weighs labelled images / (classes * images of the class), counted
  /// over the training set (scikit-learn: balanced). Classes without an image are not counted and weigh 0.
  bool balanced = false;
  std::vector<double> values = {};  ///< if not balanced: a weight of 0 or more for each class, in the head's order
};

struct TrainOptions {
  std::int64_t epochs = 100;
  std::int64_t batch = 64;  ///< images
  OptimizerKind optimizer = OptimizerKind::adam;
  double learning_rate = 1e-4;         ///< the highest rate of the schedule
  LearningRateSchedule schedule = {};  ///< how the rate changes over the run
  double beta1 = 0.9;                  ///< Adam, AdamW and LAMB
  double beta2 = 0.999;                ///< Adam, AdamW and LAMB
  double eps = 1e-8;                   ///< Adam, AdamW and LAMB
  double momentum = 0.9;               ///< SGD and LARS; 0: none
  bool nesterov = false;               ///< SGD: Nesterov's momentum
  double trust_coefficient = 0.001;    ///< LARS: the factor of the ratio of norms
  /// SGD, Adam and LARS: added to the gradient; AdamW and LAMB: decoupled from the moments.
  double weight_decay = 0;
  /// False: parameters of one dimension (biases and batch norms) have no weight decay, and LARS and LAMB don't scale
  /// their steps.
  bool bias_decay = true;
  double label_smoothing = 0;  ///< the share of each label that is spread evenly over all classes, in [0, 1)
  std::map<std::string, ClassWeights> class_weights = {};  ///< by head; default: each class weighs 1
  std::map<std::string, double> head_weights = {};         ///< by head: the weight of its loss in the sum; default: 1
  std::int64_t accumulate = 1;  ///< batches whose gradients are averaged for a step (an epoch's last may have fewer)
  /// The greatest norm of a step's gradients, taken as one vector; a greater one is scaled down to it (PyTorch:
  /// clip_grad_norm_). 0: no clipping.
  double clip_norm = 0;
  /// The decay of an exponential moving average of the weights and of batch norms' statistics: each step multiplies the
  /// average by this factor before it adds its share; the first step copies the values (PyTorch: AveragedModel with
  /// use_buffers). The average is validated, and saved as best and epoch-NNN. 0: no average is kept.
  double ema_decay = 0;
  std::vector<std::string> freeze = {};  ///< patterns of weights that training leaves unchanged (see Graph::freeze)
  std::int64_t patience = 0;             ///< epochs without an EpochResult::best before the run ends early; 0: never
  PrecisionChoice precision = PrecisionChoice::automatic;
  /// Compute threads, up to 4096; 0: OMP_NUM_THREADS if set, else the number of cores that the process may use (from 16
  /// cores on, minus the loader's threads).
  int threads = 0;
  /// Decoding threads, up to 4096; 0: chosen so that training doesn't wait (see LoaderOptions).
  int loader_threads = 0;
  std::uint64_t seed = 0;
  bool flip = true;
  bool drop_last = false;
  bool tune = true;                ///< time candidate primitives before the first step; false: use oneDNN's defaults
  bool save_memory = false;        ///< recompute cheap activations in backward, with bitwise the same results
  std::filesystem::path out = {};  ///< the run's folder; empty: nothing is written
  /// The tuning.json of a run to be repeated; empty: the tuning.json in `out`, if any.
  std::filesystem::path tuning_record = {};
  /// The folder of the tuning cache, which keeps timed choices from run to run; empty: no cache.
  std::filesystem::path tuning_cache = {};
  /// Called before each timing with the number of choices timed so far, on the thread of the constructor or of run().
  std::function<void(int)> on_tuning = {};
  int keep = 0;                   ///< number of epoch checkpoints to keep in addition to best and last
  double checkpoint_minutes = 0;  ///< minutes between checkpoints within an epoch; 0: only at the end of an epoch
  /// Initial weights (see load_pretrained); empty: none. A run that is resumed takes its checkpoint's weights instead
  /// and doesn't read this file.
  std::filesystem::path pretrained = {};
  HeadSplit split_head = {};  ///< a layer of these weights that holds several heads (see load_pretrained)
  bool resume = false;        ///< continue from the folder's last checkpoint; if there is none, start a new run
};

/// Checks the values of options that need neither a model nor data; a Trainer's constructor does so as well.
/// @throws Error naming the first option whose value is out of range, the value and the allowed values.
FACET_EXPORT void check_options(const TrainOptions& options);

/// The result of one step, over one batch or, with `accumulate`, several.
struct StepResult {
  std::int64_t epoch = 0;  ///< from 1
  std::int64_t batch = 0;  ///< the step's last batch in the epoch, from 1
  std::int64_t batches = 0;
  std::int64_t images = 0;   ///< of the epoch so far
  double loss = 0;           ///< of this step: sum of the heads' mean losses, with the options' smoothing and weights
  double learning_rate = 0;  ///< of this step
  std::vector<double> accuracy = {};  ///< of this epoch's images so far, by head
  double images_per_s = 0;            ///< of the epoch so far, including time spent waiting for the loader
  double seconds_left = 0;            ///< of the epoch's training
};

/// The result of one epoch: one line of metrics.csv, one object of metrics.jsonl.
struct EpochResult {
  std::int64_t epoch = 0;  ///< from 1
  double train_loss = 0;   ///< mean over the epoch's steps of StepResult::loss
  std::vector<double> train_accuracy = {};
  double validation_loss = 0;  ///< sum of the heads' mean cross-entropies, unweighted; absent without a validation set
  std::vector<HeadResult> validation = {};  ///< by head; empty without a validation set
  double learning_rate = 0;                 ///< of the epoch's last step
  double images_per_s = 0;                  ///< of training
  double waited = 0;                        ///< the share of the training time, 0 to 1, spent waiting for the loader
  double seconds = 0;                       ///< wall-clock time of training and validation
  std::int64_t peak_resident_bytes = 0;     ///< peak resident memory of the process so far
  bool best = false;  ///< whether the mean validation accuracy over heads with labels is the highest so far
};

/// Callbacks of Trainer::run, which calls them on its caller's thread.
struct TrainObserver {
  std::function<void(const StepResult&)> step{};
  std::function<void(const EpochResult&)> epoch{};
  std::function<void(const std::string&)> note{};  ///< one line of information for the user
  /// Called after every step and every batch of validation; if it returns true, run() saves and returns.
  std::function<bool()> stop{};
  /// Called with true before checkpoints are written and with false afterwards; no step ends in between.
  std::function<void(bool)> saving{};
};

/// Trains a model. Not thread-safe. A trainer neither prints nor installs signal handlers.
///
/// A trainer locks options.out (by flock on the file run.lock in it) before it reads or changes anything there, and
/// holds the lock until it is destroyed. If the file system doesn't support locks, a note says so.
///
/// A process that has used a trainer or predictor may fork, but the child must not use facet unless it calls exec
/// first: it would hang, because, as with GCC's OpenMP, the compute threads don't exist in the child.
///
/// A trainer writes these files in options.out, each completely or not at all:
/// - checkpoints/last.safetensors: the weights and the state of the run, with the optimiser's state in a file beside
///   it. It is written after every epoch, every checkpoint_minutes and when the run is stopped. A run continues from it
///   with bitwise the same results.
/// - checkpoints/best.safetensors: the weights of the last epoch with EpochResult::best; none without a validation set.
/// - checkpoints/last.average-STEP.safetensors: with ema_decay, the average that belongs to last.safetensors.
/// - checkpoints/epoch-NNN.safetensors: the weights of the last `keep` epochs.
/// - metrics.csv and metrics.jsonl: one line per epoch.
/// - tuning.json: the chosen precision and primitives; a repeated or resumed run uses them.
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
  ///   model, other training data (heads, names, labels or their order) or other options. Of the options, threads,
  ///   tune, save_memory, keep, patience and checkpoint_minutes may change, as may epochs unless the schedule depends
  ///   on it.
  Trainer(Graph graph, ModelInfo info, const Dataset& train, const Dataset* validation, const TrainOptions& options);
  /// A temporary data set would be destroyed before run().
  Trainer(Graph graph, ModelInfo info, const Dataset&& train, const Dataset* validation,
          const TrainOptions& options) = delete;
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// Returns the precision in use; `automatic` is resolved to the chosen one.
  Precision precision() const;
  /// Returns the planned memory in bytes: a step's activations, gradients and scratch, the parameters, the optimiser's
  /// state, the batches that are decoded ahead and the counts of validation.
  std::int64_t planned_bytes() const;
  Parameters& parameters();
  /// Returns the parameters that are validated: with ema_decay the average, otherwise parameters().
  Parameters& evaluated_parameters();

  /// Trains up to the last epoch, or until `patience` ends the run. Returns false when observer.stop ended it earlier;
  /// everything is saved by then, and another call continues from there. After a stop during validation, another call
  /// validates the remaining images only, whereas a resumed run validates all images again.
  /// @throws Error when a loss is non-finite, naming step, head and the last good checkpoint; when a weight or its
  ///   gradient is non-finite, naming the parameter, at the step where that appears; when an image can't be read (the
  ///   steps before it are saved, as after a stop); or when a checkpoint can't be written (no progress of the epoch is
  ///   lost: another call continues).
  bool run(const TrainObserver& observer = {});

 private:
  struct FACET_NO_EXPORT State;
  std::unique_ptr<State> state_;
};

}  // namespace facet
