#include <doctest/doctest.h>
#include <formats/event.pb.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "facet/sinks.h"
#include "facet/train_options.h"
#include "file_size_limit.h"
#include "formats/event_file.h"
#include "testing.h"

using namespace facet;
namespace fs = std::filesystem;
using tensorboard::Event;
using tensorboard::SessionLog;

namespace {

const std::vector<Head> heads{{"age", {"young", "old"}}, {"the \"look\"", {"a", "b", "c"}, true}};
constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// The sink of a folder, as a process has it that begins a run or resumes it.
class Sink {
 public:
  explicit Sink(const fs::path& folder, std::int64_t log_every = 0) {
    info_.heads = heads;
    options_.log_every = log_every;
    sink_ = tensorboard_sink(folder, [this](const std::string& text) { notes.push_back(text); });
  }

  TrainSink* operator->() const { return sink_.get(); }
  void start() { sink_->on_start(RunInfo{.model = info_, .options = options_}); }
  void resume(std::int64_t epoch, std::int64_t step) {
    sink_->on_resume(RunInfo{.model = info_, .options = options_, .epoch = epoch, .step = step});
  }
  void step(std::int64_t number) {
    StepResult result;
    result.step = number;
    result.loss = 0.75;
    result.head_loss = {0.5, unknown};
    result.learning_rate = 1e-3;
    result.images_per_s = 31.25;
    sink_->on_step(result);
  }

  std::vector<std::string> notes;

 private:
  ModelInfo info_;
  TrainOptions options_;
  std::unique_ptr<TrainSink> sink_;
};

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

template <class Number>
Number number_at(const std::string& bytes, std::size_t place) {
  Number number{};
  REQUIRE(place + sizeof(Number) <= bytes.size());
  std::memcpy(&number, bytes.data() + place, sizeof(Number));
  return number;
}

std::vector<Event> events_of(const fs::path& file) {
  const std::string bytes = read_file(file);
  std::vector<Event> events;
  for (std::size_t place = 0; place < bytes.size();) {
    const auto size = number_at<std::uint64_t>(bytes, place);
    CHECK(number_at<std::uint32_t>(bytes, place + 8) == tensorboard::masked_crc32c(bytes.substr(place, 8)));
    const std::string record = bytes.substr(place + 12, size);
    CHECK(number_at<std::uint32_t>(bytes, place + 12 + size) == tensorboard::masked_crc32c(record));
    REQUIRE(events.emplace_back().ParseFromString(record));
    place += size + 16;
  }
  return events;
}

using Scalars = std::map<std::string, double>;

Scalars scalars_of(const Event& event) {
  Scalars scalars;
  for (const auto& value : event.summary().value()) scalars[value.tag()] = static_cast<double>(value.simple_value());
  return scalars;
}

/// The steps that TensorBoard shows of a folder's files, in the order in which it reads them: a START drops the steps
/// from its own on.
std::vector<std::int64_t> shown_steps(const fs::path& folder) {
  std::vector<std::int64_t> steps;
  for (const fs::path& file : files_of(folder)) {
    for (const Event& event : events_of(file)) {
      if (event.session_log().status() == SessionLog::START) {
        std::erase_if(steps, [&](std::int64_t step) { return step >= event.step(); });
      }
      if (event.has_summary()) steps.push_back(event.step());
    }
  }
  return steps;
}

}  // namespace

TEST_CASE("an event file begins with its version and has the scalars of steps and epochs") {
  const TemporaryFolder folder;
  Sink sink(folder.path());
  sink.start();
  sink.step(1);
  sink.step(2);
  EpochResult epoch;
  epoch.epoch = 1;
  epoch.train_loss = 1.5;
  epoch.train_head_loss = {1.25, 0.25};
  epoch.train_accuracy = {0.5, unknown};
  epoch.validation_loss = 0.125;
  epoch.validation.resize(2);
  epoch.validation[0] = {.head = "age", .labelled = 4, .loss = 0.0625, .accuracy = 0.75};
  epoch.validation[1] = {.head = heads[1].name,
                         .labelled = 4,
                         .loss = 2,
                         .accuracy = 0.25,
                         .within_one = 0.5,
                         .mean_absolute_error = 0.875};
  epoch.learning_rate = 0.5;
  epoch.images_per_s = 12.5;
  epoch.seconds = 60;
  epoch.waited = 0.03125;
  sink->on_epoch(epoch);

  REQUIRE(files_of(folder.path()).size() == 1);
  const std::vector<Event> events = events_of(files_of(folder.path()).front());
  REQUIRE(events.size() == 5);
  CHECK(events[0].file_version() == "brain.Event:2");
  CHECK(events[0].wall_time() > 1.7e9);
  CHECK(events[1].session_log().status() == SessionLog::START);
  CHECK(events[1].step() == 1);
  CHECK(events[2].step() == 1);
  CHECK(events[3].step() == 2);
  CHECK(scalars_of(events[3]) == Scalars{{"step/loss", 0.75},
                                         {"step/loss_age", 0.5},
                                         {"step/learning_rate", static_cast<double>(1e-3F)},
                                         {"step/images_per_s", 31.25}});
  CHECK(events[4].step() == 2);
  CHECK(scalars_of(events[4]) == Scalars{{"loss/train", 1.5},
                                         {"loss_age/train", 1.25},
                                         {"loss_the \"look\"/train", 0.25},
                                         {"accuracy_age/train", 0.5},
                                         {"loss/validation", 0.125},
                                         {"loss_age/validation", 0.0625},
                                         {"accuracy_age/validation", 0.75},
                                         {"loss_the \"look\"/validation", 2},
                                         {"accuracy_the \"look\"/validation", 0.25},
                                         {"within_one_the \"look\"/validation", 0.5},
                                         {"mean_absolute_error_the \"look\"/validation", 0.875},
                                         {"learning_rate", 0.5},
                                         {"images_per_s", 12.5},
                                         {"seconds", 60},
                                         {"waited", 0.03125}});
}

TEST_CASE("with log_every, every so many steps are events") {
  const TemporaryFolder folder;
  Sink sink(folder.path(), 3);
  sink.start();
  for (std::int64_t step = 1; step <= 7; ++step) sink.step(step);
  CHECK(shown_steps(folder.path()) == std::vector<std::int64_t>{3, 6});
}

TEST_CASE("a resumed run writes another file, which is read after the others, and drops the steps that it repeats") {
  const TemporaryFolder folder;
  {
    Sink sink(folder.path());
    sink.start();
    for (std::int64_t step = 1; step <= 5; ++step) sink.step(step);
  }
  // Files of a host whose clock is ahead, and one that isn't an event file.
  write_file(folder / "events.out.tfevents.4000000000.other", "");
  write_file(folder / "events.out.tfevents.profile", "");
  Sink sink(folder.path());
  sink.resume(1, 3);
  sink.step(4);
  CHECK(files_of(folder.path()).size() == 4);
  CHECK(files_of(folder.path())[2].filename() == "events.out.tfevents.4000000001");
  fs::remove(folder / "events.out.tfevents.profile");
  CHECK(shown_steps(folder.path()) == std::vector<std::int64_t>{1, 2, 3, 4});
  SUBCASE("a run that is continued within the process keeps its file") {
    sink.resume(1, 4);
    sink.step(5);
    CHECK(files_of(folder.path()).size() == 3);
    CHECK(shown_steps(folder.path()) == std::vector<std::int64_t>{1, 2, 3, 4, 5});
  }
  SUBCASE("a run that was stopped in a validation keeps the last step") {
    sink.step(10);
    Sink later(folder.path());
    later.resume(1, 10);
    later->on_epoch({.epoch = 1, .train_head_loss = {1, 1}, .train_accuracy = {1, 1}});
    CHECK(shown_steps(folder.path()) == std::vector<std::int64_t>{1, 2, 3, 4, 10, 10});
  }
  SUBCASE("a run that begins anew, since it had no checkpoint yet") {
    Sink(folder.path()).start();
    CHECK(shown_steps(folder.path()).empty());
  }
}

TEST_CASE("histograms have the limits of their buckets, gaps included") {
  const TemporaryFolder folder;
  Sink sink(folder.path());
  sink.start();
  sink.step(4);
  ValueHistogram weight{.weight = "stem.weight",
                        .count = 7,
                        .min = -1.5,
                        .max = 2.5,
                        .sum = 3,
                        .sum_squares = 12,
                        .buckets = {{-2, -1, 3}, {-0.5, 0.5, 1}, {2, 2.25, 1}, {2.25, 2.5, 2}}};
  sink->on_histograms({.step = 4, .weights = {weight}, .gradients = {weight}});
  const std::vector<Event> events = events_of(files_of(folder.path()).front());
  CHECK(events.back().step() == 4);
  REQUIRE(events.back().summary().value_size() == 2);
  CHECK(events.back().summary().value(0).tag() == "weights/stem.weight");
  CHECK(events.back().summary().value(1).tag() == "gradients/stem.weight");
  const tensorboard::Histogram& histogram = events.back().summary().value(0).histo();
  CHECK(histogram.num() == 7);
  CHECK(histogram.min() == -1.5);
  CHECK(histogram.max() == 2.5);
  CHECK(histogram.sum() == 3);
  CHECK(histogram.sum_squares() == 12);
  const std::vector<double> limits(histogram.bucket_limit().begin(), histogram.bucket_limit().end());
  const std::vector<double> counts(histogram.bucket().begin(), histogram.bucket().end());
  CHECK(limits == std::vector<double>{-1, -0.5, 0.5, 2, 2.25, 2.5});
  CHECK(counts == std::vector<double>{3, 0, 1, 0, 1, 2});
}

TEST_CASE("an event that can't be written is told once, and the file keeps whole records") {
  const TemporaryFolder folder;
  Sink sink(folder.path());
  sink.start();
  sink.step(1);
  const fs::path file = files_of(folder.path()).front();
  const std::uintmax_t whole = fs::file_size(file);
  {
    const FileSizeLimit limit(whole + 10);
    sink.step(2);
    sink.step(3);
    CHECK(fs::file_size(file) == whole);
  }
  sink.step(4);
  CHECK(shown_steps(folder.path()) == std::vector<std::int64_t>{1, 4});
  {
    const FileSizeLimit limit(10);
    sink.resume(1, 1);
    sink.step(2);
  }
  sink.step(3);  // the resumption that could not be written precedes it
  CHECK(shown_steps(folder.path()) == std::vector<std::int64_t>{1, 3});
  REQUIRE(sink.notes.size() == 1);
  CHECK(sink.notes[0] ==
        "cannot write " + file.string() + ": File too large; the events that can't be written stay missing");
  fs::remove(file);
  sink.step(5);
  CHECK(events_of(file).front().file_version() == "brain.Event:2");
}
