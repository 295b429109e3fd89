#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "facet/export.h"
#include "facet/image.h"
#include "facet/metrics.h"
#include "facet/model_file.h"
#include "facet/tensor_types.h"

namespace facet {

struct TrainOptions;

/// The result of one step, over one batch or, with TrainOptions::accumulate, several.
struct StepResult {
  std::int64_t step = 0;   ///< of the run, from 1
  std::int64_t epoch = 0;  ///< from 1
  std::int64_t batch = 0;  ///< the step's last batch in the epoch, from 1
  std::int64_t batches = 0;
  std::int64_t images = 0;  ///< of the epoch so far
  double loss = 0;          ///< of this step: sum of the heads' mean losses, with the options' smoothing and weights
  /// Of this step, by head: the mean over the labelled images, with the options' smoothing and class weights but
  /// without the heads' weights; NaN for a head of which no image of the step has a label.
  std::vector<double> head_loss = {};
  double learning_rate = 0;  ///< of this step
  /// Of this epoch's images so far, by head, 0 to 1; NaN for a head without labels, or whose loss has no accuracy.
  std::vector<double> accuracy = {};
  double images_per_s = 0;  ///< of the epoch so far, including time spent waiting for the loader
  double seconds_left = 0;  ///< of the epoch's training
};

/// The result of one epoch: one line of metrics.csv, one object of metrics.jsonl.
struct EpochResult {
  std::int64_t epoch = 0;  ///< from 1
  double train_loss = 0;   ///< mean over the epoch's steps of StepResult::loss
  /// By head, over the epoch's images: the mean over the labelled ones, with the options' smoothing and class weights
  /// but without the heads' weights; NaN for a head of which no image has a label.
  std::vector<double> train_head_loss = {};
  /// By head, over the epoch's images, 0 to 1; NaN for a head without labels, or whose loss has no accuracy.
  std::vector<double> train_accuracy = {};
  double validation_loss = 0;  ///< sum of the heads' HeadResult::loss, unweighted; 0 without a validation set
  std::vector<HeadResult> validation = {};  ///< by head, with its loss; empty without a validation set
  double learning_rate = 0;                 ///< of the epoch's last step
  double images_per_s = 0;                  ///< of training
  double waited = 0;                        ///< the share of the training time, 0 to 1, spent waiting for the loader
  /// The share of the training time, 0 to 1, in which this process waited for communication within steps: for exchanged
  /// gradients and weights, and in small exchanges, where it waits for slower processes too. Waiting for the images of
  /// another process counts in `waited`. 0 in one process.
  double communication_waited = 0;
  double seconds = 0;                    ///< wall-clock time of training and validation
  std::int64_t peak_resident_bytes = 0;  ///< peak resident memory of the process so far
  /// Whether the mean validation accuracy over heads with labels is the highest so far; false without a validation set.
  bool best = false;
  /// Of the training images, with TrainOptions::progressive_resizing; validation has the model's size.
  std::optional<ImageSize> size = {};
};

/// Where the time of a run's steps goes: what TrainOptions::profile_steps asks for. Times are means over the profiled
/// steps, in seconds, of this process where nothing else is said.
struct StepProfile {
  /// Seconds are means over the processes.
  struct Communication {
    /// Of the exchange of gradients and weights (sending, receiving, copying and adding), which goes on behind
    /// computation between hosts.
    double seconds = 0;
    double waited_seconds = 0;  ///< in which training waited for that exchange, or did it itself
    double hidden = 0;          ///< the share of `seconds` behind computation: 1 - waited_seconds / seconds, at least 0
    double cpu_seconds = 0;     ///< CPU time that the exchange adds
    /// In all other exchanges (of losses, statistics and errors), in which a process also waits for slower ones.
    double other_seconds = 0;
    double longest_other_seconds = 0;  ///< of the process that waited longest
  };

  std::int64_t steps = 0;     ///< the number of profiled steps
  std::int64_t images = 0;    ///< of a step, of all processes
  double images_per_s = 0;    ///< of all processes, while the steps were profiled
  double seconds = 0;         ///< of a step: waiting for images, and running its batches
  double waited_seconds = 0;  ///< the part of `seconds` spent waiting for the loader
  /// By the kind of instruction, such as "convolution forward". Their sum and waited_seconds are at most `seconds`.
  std::map<std::string, double> seconds_by_kind = {};
  std::int64_t processes = 1;
  Communication communication = {};  ///< all 0 in one process
};

/// How the values of a weight, or of its gradient, are distributed.
struct ValueHistogram {
  /// The values from `low` up to below `high`; where both are negative, from above `low` up to `high`. The bucket that
  /// is neither positive nor negative has the values that are 0 or subnormal.
  struct Bucket {
    double low = 0, high = 0;
    std::int64_t count = 0;
  };

  std::string weight;      ///< its name, as in checkpoints
  std::int64_t count = 0;  ///< of its values
  double min = 0, max = 0;
  double sum = 0, sum_squares = 0;
  std::vector<Bucket> buckets;  ///< those that aren't empty, in ascending order: eight between two powers of two
};

/// What TrainOptions::histogram_every asks for: of each weight that is trained, by name, its values after a step, and
/// the gradient that the step's update has used, which is accumulated, summed over the processes and clipped. The
/// optimiser adds weight decay, if any, to it.
struct StepHistograms {
  std::int64_t step = 0;  ///< of the run, from 1
  std::vector<ValueHistogram> weights, gradients;
};

/// A run, and where it stands when Trainer::run is called. The references are valid during the call that gets it.
struct RunInfo {
  const ModelInfo& model;       ///< its heads are those of the results, in the same order
  std::int64_t parameters = 0;  ///< the number of trainable values of the model, those that are frozen included
  std::int64_t frozen = 0;      ///< the number of values that TrainOptions::freeze leaves unchanged
  const TrainOptions& options;
  Precision precision = Precision::f32;
  int threads = 0;  ///< compute threads
  std::int64_t train_images = 0;
  std::int64_t validation_images = 0;  ///< 0 without a validation set
  std::int64_t batches_per_epoch = 0;
  std::int64_t steps_per_epoch = 0;
  std::int64_t epoch = 1;  ///< the epoch in progress, from 1; after the last epoch its number plus 1
  std::int64_t step = 0;   ///< the number of finished steps
};

/// How Trainer::run ended.
struct RunEnd {
  bool finished = false;       ///< no epoch is left to train; false: the caller stopped the run
  bool stopped_early = false;  ///< finished because of TrainOptions::patience, before the last epoch
  std::int64_t epoch = 0;      ///< the number of finished epochs
  std::int64_t step = 0;       ///< the number of finished steps
  /// The highest mean validation accuracy over heads with labels, 0 to 1; NaN where nothing has been validated.
  double best = std::numeric_limits<double>::quiet_NaN();
  std::int64_t best_epoch = 0;  ///< the epoch of `best`; 0 where nothing has been validated
};

/// What a run tells goes to sinks: files, a terminal, or whatever a program makes of it. A sink overrides the functions
/// that it needs.
///
/// The functions are called on the thread that called Trainer::run, one at a time, with that thread's floating-point
/// modes and number of OpenMP threads; several sinks are called in the order of their list. A sink must not call the
/// trainer or its session.
///
/// An exception of a sink ends Trainer::run and is passed on to its caller; the sinks after it in the list are not
/// called. No step is lost by that, and another call of Trainer::run continues. on_saving must not throw.
class FACET_EXPORT TrainSink {
 public:
  virtual ~TrainSink();
  TrainSink(const TrainSink&) = delete;
  TrainSink& operator=(const TrainSink&) = delete;

  /// Called first by the Trainer::run that begins a new run.
  virtual void on_start(const RunInfo& info);
  /// Called first by a Trainer::run that continues a run, from a checkpoint or from where an earlier call ended.
  /// Afterwards, epochs from info.epoch on and steps after info.step are told, also those that were told before.
  virtual void on_resume(const RunInfo& info);
  /// Called after each step.
  virtual void on_step(const StepResult& result);
  /// Called after on_step, with TrainOptions::histogram_every after every so many steps.
  virtual void on_histograms(const StepHistograms& histograms);
  /// Called after each epoch, once its checkpoints are saved. (The files of metrics that the trainer itself keeps in
  /// TrainOptions::out are written before the checkpoint: a kill in between leaves a line of an epoch that a resumed
  /// run trains again and replaces, never a missing line.)
  virtual void on_epoch(const EpochResult& result);
  /// Called once, after the last of the TrainOptions::profile_steps steps, or where the run ends before it, with what
  /// was profiled by then; not called where no step was.
  virtual void on_profile(const StepProfile& profile);
  /// Called with one line of information for the user.
  virtual void on_note(const std::string& text);
  /// Called with true before checkpoints are written and with false afterwards; nothing else is told in between.
  virtual void on_saving(bool begins);
  /// Called last, before Trainer::run returns; not called where it throws.
  virtual void on_end(const RunEnd& end);

 protected:
  TrainSink() = default;
};

/// Called with a line of information that a sink has for the user.
using SinkNote = std::function<void(const std::string&)>;

/// A sink that writes metrics.csv, a line for each epoch, and, with TrainOptions::log_every, steps.csv, a line for each
/// step whose number is a multiple of it. A trainer with TrainOptions::out has this sink and the next.
///
/// The columns of metrics.csv are epoch, train_loss, validation_loss, validation_accuracy_HEAD for each head,
/// learning_rate, images_per_s, seconds, peak_resident_bytes, waited, best (0 or 1), for each head train_loss_HEAD,
/// train_accuracy_HEAD and validation_loss_HEAD, communication_waited, and for each ordinal head
/// validation_within_one_HEAD and validation_mean_absolute_error_HEAD: the members of EpochResult, in their units. With
/// TrainOptions::progressive_resizing the last column is size, such as 96x96.
/// Those of steps.csv are step, epoch, batch, loss, loss_HEAD and accuracy_HEAD for each head, learning_rate and
/// images_per_s. A cell is empty where there is no validation set, where a head has no label or no accuracy, and where
/// an earlier version wrote the line and had no such column.
///
/// on_start begins the files anew. on_resume removes the lines of epochs from info.epoch on and of steps after
/// info.step, and a line that a kill left unfinished. An epoch that is told again replaces its line. metrics.csv is
/// replaced as a whole, so that a kill leaves all of an epoch's line or none; steps.csv is appended to.
///
/// @param folder must exist when on_start or on_resume is called.
/// @param note is called at the first line of a step that can't be written (a full disk, for example): such lines stay
///   missing, and training goes on. Empty: nobody is told.
/// @return a sink whose on_start, on_resume and on_epoch throw Error naming the file that can't be read or written.
FACET_EXPORT std::unique_ptr<TrainSink> csv_sink(std::filesystem::path folder, SinkNote note = {});

/// A sink that writes metrics.jsonl and steps.jsonl as csv_sink() writes its files, one JSON object a line, and, with
/// TrainOptions::profile_steps, profile.json, an object with the members of StepProfile, whose `communication` is
/// absent in one process. A later profile replaces the file; one that can't be written is left out, which `note` tells.
///
/// The keys of metrics.jsonl are epoch, train_loss, validation_loss, validation_accuracy, learning_rate, images_per_s,
/// seconds, peak_resident_bytes, waited, communication_waited, best (true or false), train_loss_by_head, train_accuracy
/// and validation_loss_by_head; those of steps.jsonl are step, epoch, batch, loss, loss_by_head, accuracy,
/// learning_rate and images_per_s. Where heads are ordinal, metrics.jsonl also has validation_within_one and
/// validation_mean_absolute_error, objects of these heads; with TrainOptions::progressive_resizing it has size, such as
/// "96x96". Losses by head and accuracies are objects with the heads' names as keys, and null where a head has no
/// label. The keys of validation are absent without a validation set.
FACET_EXPORT std::unique_ptr<TrainSink> json_sink(std::filesystem::path folder, SinkNote note = {});

/// A sink that writes an event file of TensorBoard, events.out.tfevents.SECONDS, to show with
/// `tensorboard --logdir FOLDER`. Each step, or every TrainOptions::log_every-th, has the scalars step/loss,
/// step/loss_HEAD, step/learning_rate and step/images_per_s; each epoch, at its last step, loss/train, loss_HEAD/train,
/// accuracy_HEAD/train, the same with /validation, within_one_HEAD/validation and mean_absolute_error_HEAD/validation of
/// ordinal heads, learning_rate, images_per_s, seconds, waited, and communication_waited in several processes: the
/// members of StepResult and EpochResult, in their units. With TrainOptions::histogram_every there are histograms, of
/// weights/WEIGHT and gradients/WEIGHT. Values that are missing, such as the loss of a head without
/// labels, are left out.
///
/// on_start and the first on_resume begin another file, whose SessionLog makes TensorBoard drop what earlier files of
/// the folder have of the steps that are trained again.
///
/// @param folder as of csv_sink(). @param note is called at the first event that can't be written; training goes on.
/// @return a sink whose on_start and on_resume throw Error when the folder can't be read.
FACET_EXPORT std::unique_ptr<TrainSink> tensorboard_sink(std::filesystem::path folder, SinkNote note = {});

/// The figures of an epoch in metrics.jsonl by which runs are compared.
struct EpochMetrics {
  std::int64_t epoch = 0;
  /// By head, 0 to 1; nothing for a head without labels. Empty without a validation set.
  std::map<std::string, std::optional<double>> validation_accuracy = {};
  /// EpochResult::best; nothing where an earlier version, which lacks it, wrote the line.
  std::optional<bool> best = {};
  double images_per_s = 0;
  double seconds = 0;
  std::int64_t peak_resident_bytes = 0;  ///< 0 where the first version, which lacks it, wrote the line
};

/// Returns the epochs of a folder's metrics.jsonl, in the file's order; none where there is no such file.
/// @throws Error naming the file, the line and what is wrong with it.
FACET_EXPORT std::vector<EpochMetrics> read_metrics(const std::filesystem::path& folder);

}  // namespace facet
