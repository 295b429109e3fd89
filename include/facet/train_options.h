#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "facet/augmentation.h"
#include "facet/export.h"
#include "facet/model_file.h"
#include "facet/precision.h"
#include "facet/process_group.h"
#include "facet/sampler.h"
#include "facet/tensor_types.h"

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

/// Progressive resizing: training begins with smaller images, which grow over the epochs to the model's size, as by
/// Composer's method of this name. It takes a model whose weights fit images of any size. Validation, checkpoints and
/// model files are of the model's size throughout.
struct ProgressiveResizing {
  double initial_scale = 1;        ///< of height and width in the first epochs; 1: all epochs have the model's size
  double delay_fraction = 0.5;     ///< the share of the epochs, at the beginning, that have this scale; at least one
  double finetune_fraction = 0.2;  ///< the share of the epochs, at the end, that have the model's size; at least one

  bool is_used() const { return initial_scale < 1; }
  bool operator==(const ProgressiveResizing&) const = default;
};

/// Class weights of a head's loss. The weighted loss is divided by the sum of the weights of the batch's labels
/// (PyTorch: cross_entropy).
struct ClassWeights {
  /// Gives all classes the same total weight: a class weighs labelled images / (classes * images of the class), counted
  /// over the training set (scikit-learn: balanced). Classes without an image are not counted and weigh 0.
  bool balanced = false;
  /// If not balanced: a weight for each class, not all of them 0, in the head's order.
  std::vector<double> values = {};
};

/// What a run does, beside its model and data. train_options() says which values are allowed.
struct TrainOptions {
  std::int64_t epochs = 100;
  std::int64_t batch = 64;  ///< images, of all processes together
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
  /// If a weight's fan-in (the number of inputs of each of its outputs) exceeds this, its learning rate is multiplied by
  /// lr_fan_in / fan-in. 0: no rate is changed.
  std::int64_t lr_fan_in = 0;
  double label_smoothing = 0;  ///< the share of each label that is spread evenly over all classes
  /// By head; an entry with the empty name, which must be balanced, is for all heads without an entry of their own.
  /// Default: each class weighs 1.
  std::map<std::string, ClassWeights> class_weights = {};
  std::map<std::string, double> head_weights = {};  ///< by head: the weight of its loss in the sum; default: 1
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
  /// Compute threads; 0: OMP_NUM_THREADS if set, else the number of cores that the process may use (from 16
  /// cores on, minus the loader's threads).
  int threads = 0;
  /// Decoding threads; 0: chosen so that training doesn't wait (see LoaderOptions).
  int loader_threads = 0;
  std::uint64_t seed = 0;
  bool flip = true;
  /// Random changes of the training images beside the flip. What lies outside of an image, or is erased, has the colour
  /// that the model's normalisation takes as the mean.
  Augmentation augmentation = {};
  ProgressiveResizing progressive_resizing = {};  ///< see scheduled_size()
  bool drop_last = false;
  /// The images of each epoch and their order, in all processes the same; null: a ShuffledSampler.
  std::shared_ptr<const Sampler> sampler = {};
  bool tune = true;                ///< time candidate primitives before the first step; false: use oneDNN's defaults
  bool keep_gradients = false;     ///< keep each step's gradients for TrainingSession::gradient
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
  /// Steps between two lines of progress within an epoch, which are written to steps.csv and steps.jsonl; 0:
  /// none.
  std::int64_t log_every = 0;
  /// Write the run's metrics for TensorBoard too, into `out` (see tensorboard_sink).
  bool tensorboard = false;
  /// Steps between two of TrainSink::on_histograms, which tell how weights and gradients are distributed; 0: none.
  std::int64_t histogram_every = 0;
  /// Steps to profile after the first two of a Trainer, which touch memory for the first time; TrainSink::on_profile
  /// gets the result. Steps with a batch that isn't full are left out, since they run another program. Profiling costs
  /// a little time and gives the same bits. 0: none.
  std::int64_t profile_steps = 0;
  /// Initial weights (see load_pretrained); empty: none. A run that is resumed takes its checkpoint's weights instead
  /// and doesn't read this file.
  std::filesystem::path pretrained = {};
  HeadSplit split_head = {};  ///< a layer of these weights that holds several heads (see load_pretrained)
  /// In several processes: batch normalisation uses the mean and variance of all processes' images, as one process with
  /// the whole batch does, rather than of the process's own (PyTorch: SyncBatchNorm). Running statistics are averages
  /// over the processes either way.
  bool sync_batch_norm = false;
  /// In several processes: the type in which gradients are sent to other hosts; bf16 halves what is sent, and is
  /// rounded to. They are added in f32 either way. Ranks of a host read each other's memory, in which nothing is
  /// rounded; where they can't, or hosts have different numbers of ranks, all send.
  Precision reduce = Precision::f32;
  /// The batch that learning_rate is for, in images: the rate is multiplied by batch * accumulate / lr_scale_batch
  /// (the linear scaling rule of Goyal et al. 2017, who warm up over the first 5 epochs). 0: it isn't multiplied.
  std::int64_t lr_scale_batch = 0;
  /// The processes that train together; `batch` is that of all of them. By default this one alone.
  ProcessGroup processes = {};
  bool resume = false;  ///< continue from the folder's last checkpoint; if there is none, start a new run
};

/// One row of train_options(): an option of `facet train` and the members of TrainOptions that it sets. The command
/// line, the manual, run.cfg, the checks of values and what a resumed run may change all follow from the row.
struct TrainOption {
  enum class Value : std::uint8_t {
    one,   ///< a text
    many,  ///< any number of texts
    flag   ///< one text, "yes" or "no"
  };

  std::string name;                       ///< on the command line, where two dashes precede it, and in run.cfg
  std::vector<std::string> members = {};  ///< the names of the members, as messages and the records of runs have them
  std::string group = {};                 ///< the title of its part of the manual
  std::string argument = {};              ///< the placeholder of its value in the manual; empty for a flag
  std::string help = {};                  ///< what it does, with its unit
  std::string default_text = {};          ///< the text of the default value; empty: none, or a flag
  std::string former_name = {};           ///< an earlier name that is still accepted; empty: none
  std::vector<std::string> choices = {};  ///< the texts that are allowed; empty: see `check`
  Value value = Value::one;
  /// Whether a resumed run can't change the option, because it decides the results bit for bit. The number of threads
  /// decides them too, but may change, so that a run can move to another machine.
  bool fixed = false;

  /// Sets the members from texts; no text sets their default.
  /// `origin` names the option in messages, such as "--lr".
  /// @throws Error naming the origin, the text and the allowed values; the options are then unchanged.
  std::function<void(TrainOptions& options, const std::vector<std::string>& texts, const std::string& origin)> set = {};
  /// Returns texts from which `set` gives the present values; none where the option has no value.
  std::function<std::vector<std::string>(const TrainOptions& options)> texts = {};
  /// @throws Error naming the member whose value is out of range, the value and the allowed ones.
  std::function<void(const TrainOptions& options)> check = {};
};

/// Returns all options of training, in the order of the manual. on_tuning, a function, processes, sampler, and
/// keep_gradients, which TrainingSession alone uses, have no row.
FACET_EXPORT const std::vector<TrainOption>& train_options();
/// Returns the row of that name. @throws Error when there is none.
FACET_EXPORT const TrainOption& train_option(std::string_view name);

/// Options of training that were chosen together, by measurements on one kind of data.
struct TrainRecipe {
  std::string name;
  std::string help;  ///< what it is for
  /// The values of some of train_options(): their names, and texts for their `set`.
  std::vector<std::pair<std::string, std::string>> options;
};

/// Returns all recipes, by name.
FACET_EXPORT const std::vector<TrainRecipe>& train_recipes();
/// Returns the recipe of that name. @throws Error naming it and the recipes that there are.
FACET_EXPORT const TrainRecipe& train_recipe(std::string_view name);
/// Sets the options of a recipe, and no others.
FACET_EXPORT void apply_recipe(TrainOptions& options, const TrainRecipe& recipe);

/// Checks each option, and the rules that concern several at once.
/// @throws Error naming the first member that is out of range, its value and the allowed ones.
FACET_EXPORT void check_options(const TrainOptions& options);

}  // namespace facet
