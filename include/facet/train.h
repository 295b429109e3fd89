#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "facet/data.h"
#include "facet/error.h"
#include "facet/export.h"
#include "facet/graph.h"
#include "facet/metrics.h"
#include "facet/model_file.h"
#include "facet/parameters.h"
#include "facet/precision.h"

namespace facet {

/// Update rules, each as PyTorch's of that name.
enum class OptimizerKind : std::uint8_t { adam, adamw, sgd };
/// "adam", "adamw" or "sgd". @throws Error when it is none of them.
FACET_EXPORT std::string_view to_string(OptimizerKind kind);
/// @throws Error naming the value and those allowed.
FACET_EXPORT OptimizerKind parse_optimizer(std::string_view text);

/// How the learning rate goes over a run's steps.
struct LearningRateSchedule {
  enum class Kind : std::uint8_t {
    constant,
    step,      ///< falls by a factor every so many epochs (PyTorch: StepLR)
    cosine,    ///< falls to eta_min along half a cosine, step by step (Loshchilov and Hutter 2017; CosineAnnealingLR)
    one_cycle  ///< rises and falls along half cosines, step by step (Smith and Topin 2018; OneCycleLR)
  };
  Kind kind = Kind::constant;
  /// Over so many epochs the rate first rises in equal steps from warmup_factor times the learning rate to it
  /// (LinearLR); the schedule proper begins after them. Not with one_cycle.
  double warmup_epochs = 0;
  double warmup_factor = 0.01;
  std::int64_t step_size = 30;    ///< step: epochs from fall to fall
  double gamma = 0.1;             ///< step: the factor
  double eta_min = 0;             ///< cosine: the rate that it falls to
  double pct_start = 0.3;         ///< one_cycle: the share of the steps over which the rate rises
  double div_factor = 25;         ///< one_cycle: it rises from learning_rate / div_factor
  double final_div_factor = 1e4;  ///< one_cycle: it falls to learning_rate / div_factor / final_div_factor
  /// one_cycle: the rule's momentum (of Adam and AdamW beta1; of SGD where it has one), whatever it is otherwise, falls
  /// from max_momentum to base_momentum while the rate rises, and rises again while it falls.
  bool cycle_momentum = true;
  double base_momentum = 0.85, max_momentum = 0.95;

  /// Whether the rates depend on the number of epochs, which a resumed run then can't change.
  bool follows_epochs() const { return kind == Kind::cosine || kind == Kind::one_cycle; }
};
/// "constant", "step", "cosine" or "one-cycle". @throws Error when it is none of them.
FACET_EXPORT std::string_view to_string(LearningRateSchedule::Kind kind);
/// @throws Error naming the value and those allowed.
FACET_EXPORT LearningRateSchedule::Kind parse_schedule(std::string_view text);

/// Weights of a head's classes in its loss, which is divided by the sum of its labels' (PyTorch: cross_entropy).
struct ClassWeights {
  /// Each class weighs as much as any other: images / (classes * images of the class), over the training set's labels
  /// (scikit-learn: balanced). Classes without an image aren't counted and weigh 0.
  bool balanced = false;
  std::vector<double> values = {};  ///< otherwise: one a class, in the order of the head's, 0 or more
};

struct TrainOptions {
  std::int64_t epochs = 100;
  std::int64_t batch = 64;  ///< images
  OptimizerKind optimizer = OptimizerKind::adam;
  double learning_rate = 1e-4;         ///< the highest of the schedule
  LearningRateSchedule schedule = {};  ///< how it goes over the run
  double beta1 = 0.9;                  ///< of Adam and AdamW
  double beta2 = 0.999;                ///< likewise
  double eps = 1e-8;                   ///< likewise
  double momentum = 0.9;               ///< of SGD; 0: none
  bool nesterov = false;               ///< of SGD: Nesterov's momentum
  double weight_decay = 0;             ///< in SGD and Adam a part of the gradient, in AdamW apart from the moments
  bool bias_decay = true;      ///< false: weight decay spares parameters of one dimension, biases and batch norms
  double label_smoothing = 0;  ///< the share of each label that goes to all classes alike, 0 up to below 1
  std::map<std::string, ClassWeights> class_weights = {};  ///< by head; of others each class weighs 1
  std::map<std::string, double> head_weights = {};         ///< by head: of its loss in the sum; of others 1
  std::int64_t accumulate = 1;  ///< batches whose gradients' mean makes a step (the last of an epoch may have fewer)
  /// A step's gradients, all in one vector, are scaled down to this norm where theirs is greater (PyTorch:
  /// clip_grad_norm_); 0: never.
  double clip_norm = 0;
  /// An exponential moving average of the weights and of batch norms' statistics is kept: each step leaves this share
  /// of it, but for the first, which copies (PyTorch: AveragedModel with use_buffers). It is what is validated, and
  /// saved as best and epoch-NNN. 0: none.
  double ema_decay = 0;
  std::vector<std::string> freeze = {};  ///< patterns of weights that stay as they are (see Graph::freeze)
  std::int64_t patience = 0;             ///< stop early after so many epochs without a better EpochResult; 0: never
  PrecisionChoice precision = PrecisionChoice::automatic;
  /// Compute threads, up to 4096; 0: OMP_NUM_THREADS, else the cores that the process may use (of 16 and more, less the loader's).
  int threads = 0;
  /// Decoding threads, up to 4096; 0: as many as keep the training from waiting (see LoaderOptions).
  int loader_threads = 0;
  std::uint64_t seed = 0;
  bool flip = true;
  bool drop_last = false;
  bool tune = true;                ///< time candidate primitives before the first step; otherwise oneDNN's defaults
  bool save_memory = false;        ///< compute what is cheap once more in backward instead of keeping it: the same bits
  std::filesystem::path out = {};  ///< the run's folder; empty: nothing is written
  /// The choices.json of a run to be repeated; empty: the folder's own, where it has one.
  std::filesystem::path choices = {};
  /// Folder where choices made by timing are kept from run to run; empty: nowhere.
  std::filesystem::path choice_cache = {};
  /// Told before something is timed: how many such choices were made so far. From the constructor, on its thread.
  std::function<void(int)> on_tuning = {};
  int keep = 0;                   ///< older checkpoints to keep, one an epoch, beside best and last
  double checkpoint_minutes = 0;  ///< also save within an epoch, this often; 0: at its end only
  /// Weights to begin with (see load_pretrained); empty: none. A run that is resumed has its own and reads them no
  /// more.
  std::filesystem::path pretrained = {};
  HeadSplit split_head = {};  ///< a layer of these weights that holds several heads (see load_pretrained)
  bool resume = false;        ///< go on from the folder's last checkpoint; where there is none yet, start
};

/// What a step came to, of one batch or of as many as accumulate.
struct StepResult {
  std::int64_t epoch = 0;  ///< from 1
  std::int64_t batch = 0;  ///< its last in the epoch, from 1
  std::int64_t batches = 0;
  std::int64_t images = 0;   ///< of the epoch so far
  double loss = 0;           ///< of this step: the heads' mean losses, smoothed and weighed as the options say, in sum
  double learning_rate = 0;  ///< of this step
  std::vector<double> accuracy = {};  ///< of this epoch's images so far, by head
  double images_per_s = 0;            ///< of the epoch so far, waiting for the loader included
  double seconds_left = 0;            ///< of the epoch's training
};

/// What an epoch came to: one line of metrics.csv, one object of metrics.jsonl.
struct EpochResult {
  std::int64_t epoch = 0;  ///< from 1
  double train_loss = 0;   ///< mean over the epoch's steps of StepResult::loss
  std::vector<double> train_accuracy = {};
  double validation_loss = 0;  ///< sum of the heads' mean cross-entropies, plain ones; absent without a validation set
  std::vector<HeadResult> validation = {};  ///< by head; empty without a validation set
  double learning_rate = 0;                 ///< of the epoch's last step
  double images_per_s = 0;                  ///< of training
  double waited = 0;   ///< the share of the training's time, 0 to 1, in which it waited for the loader
  double seconds = 0;  ///< of the clock, training and validation
  std::int64_t peak_resident_bytes = 0;  ///< bytes: the most that the process has held resident so far
  bool best = false;  ///< the highest mean validation accuracy so far, over the heads that have labels
};

/// Called by Trainer::run, on the thread that called it.
struct TrainObserver {
  std::function<void(const StepResult&)> step{};
  std::function<void(const EpochResult&)> epoch{};
  std::function<void(const std::string&)> note{};  ///< one line that a user should know
  /// Asked after every step and every batch of validation; true: save and return.
  std::function<bool()> stop{};
  /// Told true before checkpoints are written and false when that has ended: time in which no step ends.
  std::function<void(bool)> saving{};
};

/// Trains a model. One thread uses a trainer; it neither prints nor installs signal handlers.
///
/// A trainer locks options.out (by flock on the file run.lock in it) before it reads or changes anything there, and
/// holds the lock until it is destroyed. Where the file system has no locks, an observer is told so.
///
/// A process that has used a trainer or predictor may fork, but the child must not use facet (it hangs: as with GCC's
/// OpenMP, the threads that compute are not there) unless it calls exec first.
///
/// In options.out it writes, each file whole or not at all:
/// - checkpoints/last.safetensors: the weights and where the run stands, with the optimiser's state in a file beside
/// it; after
///   every epoch, every checkpoint_minutes and when it is stopped. The run goes on from there, bit for bit.
/// - checkpoints/best.safetensors: the weights of the highest EpochResult::best; none without a validation set.
/// - checkpoints/last.average-STEP.safetensors: with ema_decay, the average that goes with last.safetensors.
/// - checkpoints/epoch-NNN.safetensors: the weights of the last `keep` epochs.
/// - metrics.csv and metrics.jsonl: a line an epoch.
/// - choices.json: the precision and the primitives that were chosen; a repeated or resumed run takes them.
///
/// The last batch of an epoch, which may be smaller, is trained as it is, on its own number of images, even if that is
/// one: batch statistics are then those of the one image's pixels. Where that is a single pixel, which has no variance,
/// the trainer's constructor refuses it: another batch or drop_last avoids it.
class FACET_EXPORT Trainer {
 public:
  /// @param info names the model and its heads for the checkpoints; info.heads must be the graph's and the data's.
  /// @param validation may be null. The data sets must outlive the trainer.
  /// @throws Error when an option's value is out of range, heads don't match, bf16 is asked for and can't be had,
  /// memory
  ///   doesn't suffice, `info` is what no model file can hold, the pretrained weights can't be read or don't fit,
  ///   `out` can't be written, is in use by another trainer (the message has its process and host), or holds a run and
  ///   resume isn't set, or a run to be resumed was started with another model, other training data (heads, names, labels or their
  ///   order) or other options (threads, tune, save_memory, keep, patience and checkpoint_minutes may change, and
  ///   epochs where the schedule doesn't follow them).
  Trainer(Graph graph, ModelInfo info, const Dataset& train, const Dataset* validation, const TrainOptions& options);
  /// A temporary data set would be gone before run().
  Trainer(Graph graph, ModelInfo info, const Dataset&& train, const Dataset* validation,
          const TrainOptions& options) = delete;
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// The precision that is used, after `automatic` was decided.
  Precision precision() const;
  /// Bytes planned for a step's activations, gradients and scratch; parameters, optimiser, the batches that are decoded
  /// ahead and the counts of validation included.
  std::int64_t planned_bytes() const;
  Parameters& parameters();
  /// What is validated: with ema_decay the average, otherwise parameters().
  Parameters& evaluated_parameters();

  /// Trains to the last epoch, or to the end of patience. Returns false when observer.stop ended it before (everything
  /// is saved by then); another call goes on from there.
  /// After a stop within validation, a call goes on with the images that validation has not seen; a resumed run
  /// validates from the first one.
  /// @throws Error when a loss isn't finite, naming step, head and the last good checkpoint; likewise when a weight or
  /// its gradient isn't, at the step where that appears, naming the parameter; when an image can't be read: the steps
  /// before it are saved, as when it is stopped. Nothing of the epoch in progress is lost where a checkpoint can't be
  /// written: another call goes on.
  bool run(const TrainObserver& observer = {});

 private:
  struct FACET_NO_EXPORT State;
  std::unique_ptr<State> state_;
};

}  // namespace facet
