#include <fmt/format.h>
#include <formats/event.pb.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/files.h"
#include "facet/error.h"
#include "facet/sinks.h"
#include "facet/text.h"
#include "facet/train_options.h"
#include "formats/event_file.h"
#include "train/appended_file.h"

namespace facet {
namespace train {
namespace {

using tensorboard::Event;
using tensorboard::SessionLog;
using tensorboard::Summary;

constexpr std::string_view prefix = "events.out.tfevents.";

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

/// The seconds in the name of an event file; 0 where it has none, or isn't one.
std::int64_t seconds_of(const std::string& name) {
  std::int64_t seconds = 0;
  if (name.starts_with(prefix)) std::from_chars(name.data() + prefix.size(), name.data() + name.size(), seconds);
  return seconds;
}

/// The name of a new file. TensorBoard reads a folder's files in the order of their names, in which the new one must be
/// the last, whatever the clocks of hosts say.
std::filesystem::path new_file(const std::filesystem::path& folder) {
  auto seconds = static_cast<std::int64_t>(now());
  for (const std::filesystem::path& entry : base::entries_of(folder)) {
    seconds = std::max(seconds, seconds_of(entry.filename().string()) + 1);
  }
  return folder / fmt::format("{}{:010}", prefix, seconds);
}

/// The scalars of one event.
class Scalars {
 public:
  /// Adds a value, unless it is NaN, which stands for none.
  void add(const std::string& tag, double value) {
    if (std::isnan(value)) return;
    Summary::Value& added = *summary_.add_value();
    added.set_tag(printable(tag));
    added.set_simple_value(static_cast<float>(value));
  }

  Summary take() { return std::move(summary_); }

 private:
  Summary summary_;
};

void add(Summary& summary, const std::string& group, const ValueHistogram& values) {
  Summary::Value& added = *summary.add_value();
  added.set_tag(printable(group + values.weight));
  tensorboard::Histogram& histogram = *added.mutable_histo();
  histogram.set_min(values.min);
  histogram.set_max(values.max);
  histogram.set_num(static_cast<double>(values.count));
  histogram.set_sum(values.sum);
  histogram.set_sum_squares(values.sum_squares);
  // Each bucket begins where the one before ends.
  std::optional<double> end;
  for (const auto& [low, high, count] : values.buckets) {
    if (end && *end < low) {
      histogram.add_bucket_limit(low);
      histogram.add_bucket(0);
    }
    histogram.add_bucket_limit(high);
    histogram.add_bucket(static_cast<double>(count));
    end = high;
  }
}

class TensorboardSink final : public TrainSink {
 public:
  TensorboardSink(std::filesystem::path folder, SinkNote note) : folder_(std::move(folder)), note_(std::move(note)) {}

  void on_start(const RunInfo& info) override {
    file_.reset();
    begin(info, 1);
  }

  void on_resume(const RunInfo& info) override { begin(info, info.step + 1); }

  void on_step(const StepResult& result) override {
    step_ = result.step;
    if (log_every_ > 1 && result.step % log_every_ != 0) return;
    Scalars scalars;
    scalars.add("step/loss", result.loss);
    for (std::size_t head = 0; head < result.head_loss.size(); ++head) {
      scalars.add("step/loss_" + heads_[head].name, result.head_loss[head]);
    }
    scalars.add("step/learning_rate", result.learning_rate);
    scalars.add("step/images_per_s", result.images_per_s);
    write(scalars.take());
  }

  void on_histograms(const StepHistograms& histograms) override {
    Summary summary;
    for (const ValueHistogram& weight : histograms.weights) add(summary, "weights/", weight);
    for (const ValueHistogram& gradient : histograms.gradients) add(summary, "gradients/", gradient);
    write(std::move(summary));
  }

  void on_epoch(const EpochResult& result) override {
    Scalars scalars;
    scalars.add("loss/train", result.train_loss);
    for (std::size_t head = 0; head < heads_.size(); ++head) {
      scalars.add(fmt::format("loss_{}/train", heads_[head].name), result.train_head_loss[head]);
      scalars.add(fmt::format("accuracy_{}/train", heads_[head].name), result.train_accuracy[head]);
    }
    if (!result.validation.empty()) scalars.add("loss/validation", result.validation_loss);
    for (const HeadResult& head : result.validation) {
      if (head.labelled == 0) continue;
      scalars.add(fmt::format("loss_{}/validation", head.head), head.loss);
      scalars.add(fmt::format("accuracy_{}/validation", head.head), head.accuracy);
      const auto found = std::ranges::find(heads_, head.head, &Head::name);
      if (found == heads_.end() || !found->ordinal) continue;
      scalars.add(fmt::format("within_one_{}/validation", head.head), head.within_one);
      scalars.add(fmt::format("mean_absolute_error_{}/validation", head.head), head.mean_absolute_error);
    }
    scalars.add("learning_rate", result.learning_rate);
    scalars.add("images_per_s", result.images_per_s);
    scalars.add("seconds", result.seconds);
    scalars.add("waited", result.waited);
    if (processes_ > 1) scalars.add("communication_waited", result.communication_waited);
    write(scalars.take());
  }

 private:
  /// Writes that what follows begins with the step `first`, which is trained (again) next.
  void begin(const RunInfo& info, std::int64_t first) {
    heads_ = info.model.heads;
    log_every_ = info.options.log_every;
    processes_ = info.options.processes.size();
    step_ = info.step;
    if (!file_) file_.emplace(new_file(folder_));
    Event event;
    event.set_step(first);
    event.mutable_session_log()->set_status(SessionLog::START);
    write(event);
  }

  void write(Summary summary) {
    Event event;
    event.set_step(step_);
    *event.mutable_summary() = std::move(summary);
    write(event);
  }

  void write(Event& event) {
    event.set_wall_time(now());
    Event version;
    version.set_wall_time(event.wall_time());
    version.set_file_version("brain.Event:2");
    const std::string record = tensorboard::record_of(event);
    try {
      file_->add(tensorboard::record_of(version), start_ + record);
      start_.clear();
    } catch (const Error& error) {  // a full disk, for example, must not end the run
      if (event.has_session_log()) start_ = record;
      if (note_ && !std::exchange(noted_, true)) {
        note_(fmt::format("{}; the events that can't be written stay missing", error.what()));
      }
    }
  }

  std::filesystem::path folder_;
  SinkNote note_;
  std::optional<AppendedFile> file_;
  std::string start_;  ///< the record that the file's further ones depend on, until it could be written
  std::vector<Head> heads_;
  std::int64_t log_every_ = 0, processes_ = 1;
  std::int64_t step_ = 0;  ///< the last finished step
  bool noted_ = false;     ///< whether an event that can't be written has been reported
};

}  // namespace
}  // namespace train

std::unique_ptr<TrainSink> tensorboard_sink(std::filesystem::path folder, SinkNote note) {
  return std::make_unique<train::TensorboardSink>(std::move(folder), std::move(note));
}

}  // namespace facet
