#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/files.h"
#include "base/read_file.h"
#include "facet/error.h"
#include "facet/training.h"
#include "train/appended_file.h"
#include "train/metric_lines.h"
#include "train/training_state.h"

namespace facet {
namespace train {
namespace {

/// The file of epochs, metrics.csv or metrics.jsonl. Each change replaces the whole file, so that a kill leaves no
/// partial line.
class EpochFile {
 public:
  /// @param sized its lines have EpochResult::size.
  EpochFile(const std::filesystem::path& folder, const LineFormat& format, std::vector<Head> heads, bool sized)
      : file_((folder / "metrics") += format.suffix), format_(format), heads_(std::move(heads)), sized_(sized) {}

  /// Removes the lines of `epoch` and later epochs.
  void cut(std::int64_t epoch) const {
    if (base::exists(file_)) replace(lines_before(epoch));
  }

  /// Adds an epoch's line in place of those of the same and later epochs.
  void add(const EpochResult& result) const {
    replace(lines_before(result.epoch) + format_.epoch_line(result, heads_) + "\n");
  }

 private:
  std::string lines_before(std::int64_t epoch) const {
    if (!base::exists(file_)) return {};
    std::istringstream stream(read_text(file_));
    std::string kept, line;
    while (std::getline(stream, line)) {
      const std::optional<std::int64_t> found = format_.epoch_of(line);
      if (found && *found < epoch) kept += format_.updated(std::move(line), heads_) + "\n";
    }
    return kept;
  }

  void replace(std::string_view lines) const {
    AtomicFile replacement(file_);
    if (const std::string header = format_.epoch_header(heads_, sized_); !header.empty())
      replacement.write(header + "\n");
    replacement.write(lines);
    replacement.commit();
  }

  std::filesystem::path file_;
  const LineFormat& format_;
  std::vector<Head> heads_;
  bool sized_;
};

/// The file of steps, steps.csv or steps.jsonl, which is appended to.
class StepFile {
 public:
  StepFile(const std::filesystem::path& folder, const LineFormat& format, std::vector<Head> heads)
      : file_((folder / "steps") += format.suffix), format_(format), heads_(std::move(heads)), lines_(file_) {}

  /// Removes the lines of the steps after `step`, and a line that a kill left unfinished.
  void cut(std::int64_t step) {
    if (!base::exists(file_)) return;
    if (!base::is_file(file_)) throw Error(fmt::format("{}: is not a regular file", file_.string()), ErrorCode::io);
    std::ifstream stream(file_, std::ios::binary);
    if (!stream) throw Error(fmt::format("{}: can't be read", file_.string()), ErrorCode::io);
    std::string line;
    std::int64_t whole = 0;
    for (std::int64_t end = 0; std::getline(stream, line) && !stream.eof();) {
      end += std::ssize(line) + 1;
      const std::optional<std::int64_t> found = format_.step_of(line);
      if (found && *found <= step) whole = end;
    }
    if (stream.bad()) throw Error(fmt::format("{}: can't be read", file_.string()), ErrorCode::io);
    lines_.keep(whole);
  }

  /// Adds a step's line. Where that fails, the file keeps whole lines only.
  void add(const StepResult& result) {
    const std::string header = format_.step_header(heads_);
    lines_.add(header.empty() ? header : header + "\n", format_.step_line(result, heads_) + "\n");
  }

 private:
  std::filesystem::path file_;
  const LineFormat& format_;
  std::vector<Head> heads_;
  AppendedFile lines_;
};

/// csv_sink() and json_sink(), which differ in the form of their lines only.
class FileSink final : public TrainSink {
 public:
  FileSink(std::filesystem::path folder, const LineFormat& format, SinkNote note)
      : folder_(std::move(folder)), format_(format), note_(std::move(note)) {}

  void on_start(const RunInfo& info) override { begin(info, 1, 0); }
  void on_resume(const RunInfo& info) override { begin(info, info.epoch, info.step); }

  void on_step(const StepResult& result) override {
    if (!steps_ || log_every_ <= 0 || result.step % log_every_ != 0) return;
    try {
      steps_->add(result);
    } catch (const Error& error) {
      // A full disk, for example, must not end the run in the middle of an epoch.
      if (note_ && !std::exchange(noted_, true)) {
        note_(fmt::format("{}; the lines of steps that can't be written stay missing", error.what()));
      }
    }
  }

  void on_epoch(const EpochResult& result) override {
    if (epochs_) epochs_->add(result);
  }

  void on_profile(const StepProfile& profile) override {
    if (format_.profile == nullptr) return;
    try {
      AtomicFile file(folder_ / "profile.json");
      file.write(format_.profile(profile) + "\n");
      file.commit();
    } catch (const Error& error) {  // as for a step's line
      if (note_) note_(fmt::format("{}; the profile isn't kept", error.what()));
    }
  }

 private:
  /// Opens the files and removes the lines of epochs from `epoch` on and of steps after `step`.
  void begin(const RunInfo& info, std::int64_t epoch, std::int64_t step) {
    log_every_ = info.options.log_every;
    const bool sized = info.options.progressive_resizing.is_used();
    epochs_.emplace(folder_, format_, info.model.heads, sized).cut(epoch);
    steps_.emplace(folder_, format_, info.model.heads).cut(step);
  }

  std::filesystem::path folder_;
  const LineFormat& format_;
  SinkNote note_;
  std::int64_t log_every_ = 0;
  bool noted_ = false;  ///< whether a step's line that can't be written has been reported
  std::optional<EpochFile> epochs_;
  std::optional<StepFile> steps_;
};

EpochMetrics metrics_of(const nlohmann::ordered_json& json) {
  constexpr double any = std::numeric_limits<double>::max();
  if (!json.is_object()) throw Error("a JSON object is needed", ErrorCode::invalid_data);
  EpochMetrics metrics;
  metrics.epoch = whole_field(json, "epoch", 1);
  metrics.images_per_s = number_field(json, "images_per_s", 0, any);
  metrics.seconds = number_field(json, "seconds", 0, any);
  if (json.contains("peak_resident_bytes")) metrics.peak_resident_bytes = whole_field(json, "peak_resident_bytes", 0);
  if (const auto best = json.find("best"); best != json.end()) {
    if (!best->is_boolean()) throw Error("`best` is neither true nor false", ErrorCode::invalid_data);
    metrics.best = best->get<bool>();
  }
  const auto validation = json.find("validation_accuracy");
  if (validation == json.end()) return metrics;
  if (!validation->is_object()) throw Error("`validation_accuracy` is not a JSON object", ErrorCode::invalid_data);
  for (const auto& [head, accuracy] : validation->items()) {
    std::optional<double>& value = metrics.validation_accuracy[head];
    if (!accuracy.is_null()) value = number_field(*validation, head.c_str(), 0, 1);
  }
  return metrics;
}

}  // namespace

}  // namespace train

TrainSink::~TrainSink() = default;
void TrainSink::on_start(const RunInfo& /*info*/) {}
void TrainSink::on_resume(const RunInfo& /*info*/) {}
void TrainSink::on_step(const StepResult& /*result*/) {}
void TrainSink::on_histograms(const StepHistograms& /*histograms*/) {}
void TrainSink::on_epoch(const EpochResult& /*result*/) {}
void TrainSink::on_profile(const StepProfile& /*profile*/) {}
void TrainSink::on_note(const std::string& /*text*/) {}
void TrainSink::on_saving(bool /*begins*/) {}
void TrainSink::on_end(const RunEnd& /*end*/) {}

std::unique_ptr<TrainSink> csv_sink(std::filesystem::path folder, SinkNote note) {
  return std::make_unique<train::FileSink>(std::move(folder), train::csv_lines(), std::move(note));
}

std::unique_ptr<TrainSink> json_sink(std::filesystem::path folder, SinkNote note) {
  return std::make_unique<train::FileSink>(std::move(folder), train::json_lines(), std::move(note));
}

std::vector<EpochMetrics> read_metrics(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "metrics.jsonl";
  std::vector<EpochMetrics> epochs;
  if (!base::exists(file)) return epochs;
  std::istringstream stream(read_text(file));
  std::string line;
  while (std::getline(stream, line)) {
    try {
      epochs.push_back(train::metrics_of(nlohmann::ordered_json::parse(line, nullptr, false)));
    } catch (const Error& error) {
      throw error.with_prefix(fmt::format("{}:{}: ", file.string(), epochs.size() + 1));
    }
  }
  return epochs;
}

}  // namespace facet
