#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "facet/training.h"
#include "file_size_limit.h"
#include "testing.h"
#include "train/run_folder.h"

using namespace facet;

namespace {

const std::vector<Head> heads{{"age", {"young", "old"}}, {"the \"look\", say", {"a", "b"}}};
constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

EpochResult epoch(std::int64_t number) {
  EpochResult result;
  result.epoch = number;
  result.train_loss = 1.5;
  result.train_head_loss = {1.25, 0.25};
  result.train_accuracy = {0.5, 0.375};
  result.validation_loss = 0.1;
  result.validation.resize(2);
  result.validation[0].head = heads[0].name;
  result.validation[0].labelled = 4;
  result.validation[0].loss = 0.0625;
  result.validation[0].accuracy = 0.75;
  result.validation[1].head = heads[1].name;
  result.validation[1].labelled = 3;
  result.validation[1].loss = 0.0375;
  result.validation[1].accuracy = 1.0 / 3;
  result.learning_rate = 1e-4;
  result.images_per_s = 12.5;
  result.seconds = 60;
  result.peak_resident_bytes = 4096;
  result.waited = 0.03125;
  result.communication_waited = 0.1875;
  result.best = true;
  return result;
}

StepResult step(std::int64_t number) {
  StepResult result;
  result.step = number;
  result.epoch = 1 + number / 10;
  result.batch = 1 + number % 10;
  result.loss = 0.75;
  result.head_loss = {0.5, unknown};
  result.accuracy = {0.625, unknown};
  result.learning_rate = 1e-3;
  result.images_per_s = 31.25;
  return result;
}

/// The two sinks of a folder, and the run that they are told about.
class Sinks {
 public:
  explicit Sinks(const std::filesystem::path& folder, std::int64_t log_every = 0, double initial_scale = 1) {
    options_.progressive_resizing.initial_scale = initial_scale;
    info_.heads = heads;
    options_.log_every = log_every;
    const auto note = [this](const std::string& text) { notes.push_back(text); };
    sinks_.push_back(csv_sink(folder, note));
    sinks_.push_back(json_sink(folder, note));
  }

  Sinks& start() {
    for (const auto& sink : sinks_) sink->on_start(RunInfo{.model = info_, .options = options_});
    return *this;
  }
  Sinks& resume(std::int64_t epoch, std::int64_t step = 0) {
    for (const auto& sink : sinks_) {
      sink->on_resume(RunInfo{.model = info_, .options = options_, .epoch = epoch, .step = step});
    }
    return *this;
  }
  void add(const EpochResult& result) {
    for (const auto& sink : sinks_) sink->on_epoch(result);
  }
  void add(const StepResult& result) {
    for (const auto& sink : sinks_) sink->on_step(result);
  }

  void add(const StepProfile& profile) {
    for (const auto& sink : sinks_) sink->on_profile(profile);
  }

  std::vector<std::string> notes;

 private:
  ModelInfo info_;
  TrainOptions options_;
  std::vector<std::unique_ptr<TrainSink>> sinks_;
};

constexpr const char* header =
    "epoch,train_loss,validation_loss,validation_accuracy_age,\"validation_accuracy_the \"\"look\"\", say\","
    "learning_rate,images_per_s,seconds,peak_resident_bytes,waited,best,train_loss_age,"
    "\"train_loss_the \"\"look\"\", say\",train_accuracy_age,\"train_accuracy_the \"\"look\"\", say\","
    "validation_loss_age,\"validation_loss_the \"\"look\"\", say\",communication_waited\n";
constexpr const char* line_after_epoch =
    ",1.5,0.1,0.75,0.3333333333333333,0.0001,12.5,60,4096,0.03125,1,1.25,0.25,0.5,0.375,0.0625,0.0375,0.1875\n";
constexpr const char* step_header =
    "step,epoch,batch,loss,loss_age,\"loss_the \"\"look\"\", say\",accuracy_age,\"accuracy_the \"\"look\"\", say\","
    "learning_rate,images_per_s\n";

std::string csv_of(const EpochResult& result) {
  const TemporaryFolder folder;
  Sinks(folder.path()).start().add(result);
  return read_file(folder / "metrics.csv").substr(std::string(header).size());
}

std::string json_of(const EpochResult& result) {
  const TemporaryFolder folder;
  Sinks(folder.path()).start().add(result);
  return read_file(folder / "metrics.jsonl");
}

std::string steps_of(const std::vector<std::int64_t>& numbers) {
  std::string text = step_header;
  for (const std::int64_t number : numbers) {
    text += std::to_string(number) + "," + std::to_string(1 + number / 10) + "," + std::to_string(1 + number % 10) +
            ",0.75,0.5,,0.625,,0.001,31.25\n";
  }
  return text;
}

std::ptrdiff_t count_lines(const std::filesystem::path& file) {
  const std::string text = read_file(file);
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace

TEST_CASE("an epoch adds a line to each file") {
  const TemporaryFolder folder;
  Sinks sinks(folder.path());
  sinks.start();
  CHECK(!train::RunFolder(folder.path()).has_metrics());
  sinks.add(epoch(1));
  CHECK(train::RunFolder(folder.path()).has_metrics());
  CHECK(read_file(folder / "metrics.csv") == std::string(header) + "1" + line_after_epoch);
  CHECK(read_file(folder / "metrics.jsonl") ==
        R"({"epoch":1,"train_loss":1.5,"validation_loss":0.1,"validation_accuracy":)"
        R"({"age":0.75,"the \"look\", say":0.3333333333333333},"learning_rate":0.0001,"images_per_s":12.5,)"
        R"("seconds":60.0,"peak_resident_bytes":4096,"waited":0.03125,"communication_waited":0.1875,"best":true,)"
        R"("train_loss_by_head":{"age":1.25,"the \"look\", say":0.25},)"
        R"("train_accuracy":{"age":0.5,"the \"look\", say":0.375},)"
        R"("validation_loss_by_head":{"age":0.0625,"the \"look\", say":0.0375}})"
        "\n");
  CHECK(!std::filesystem::exists(folder / "steps.csv"));
}

TEST_CASE("with progressive resizing the last column and the last key are the size of the training images") {
  const TemporaryFolder folder;
  EpochResult first = epoch(1), second = epoch(2);
  first.size = ImageSize(64, 32);
  second.size = 96;
  Sinks sinks(folder.path(), 0, 0.5);
  sinks.start().add(first);
  sinks.resume(2).add(second);
  std::string titles = header, cells = line_after_epoch;
  titles.pop_back();
  cells.pop_back();
  CHECK(read_file(folder / "metrics.csv") == titles + ",size\n1" + cells + ",64x32\n2" + cells + ",96x96\n");
  const std::string json = read_file(folder / "metrics.jsonl");
  CHECK(contains(json, ",\"size\":\"64x32\"}\n"));
  CHECK(contains(json, "\"size\":\"96x96\"}\n"));
}

TEST_CASE("without a validation set its cells are empty and its keys absent") {
  EpochResult result = epoch(2);
  result.validation.clear();
  result.best = false;
  CHECK(csv_of(result) == "2,1.5,,,,0.0001,12.5,60,4096,0.03125,0,1.25,0.25,0.5,0.375,,,0.1875\n");
  CHECK(json_of(result) == R"({"epoch":2,"train_loss":1.5,"learning_rate":0.0001,"images_per_s":12.5,"seconds":60.0,)"
                           R"("peak_resident_bytes":4096,"waited":0.03125,"communication_waited":0.1875,"best":false,)"
                           R"("train_loss_by_head":{"age":1.25,"the \"look\", say":0.25},)"
                           R"("train_accuracy":{"age":0.5,"the \"look\", say":0.375}})"
                           "\n");
}

TEST_CASE("a head without a label has neither a loss nor an accuracy") {
  EpochResult result = epoch(2);
  result.validation[0].labelled = 0;
  result.validation[0].accuracy = 0;
  result.train_head_loss[1] = result.train_accuracy[1] = unknown;
  CHECK(csv_of(result) == "2,1.5,0.1,,0.3333333333333333,0.0001,12.5,60,4096,0.03125,1,1.25,,0.5,,,0.0375,0.1875\n");
  const std::string json = json_of(result);
  for (const char* part : {R"("validation_accuracy":{"age":null,"the)", R"("validation_loss_by_head":{"age":null,"the)",
                           R"("train_loss_by_head":{"age":1.25,"the \"look\", say":null})"}) {
    CHECK_MESSAGE(contains(json, part), json);
  }
}

TEST_CASE("a file that can't be read or inspected is an error, not an empty file") {
  const TemporaryFolder folder;
  const std::string csv = (folder / "metrics.csv").string() + ": is a folder, not a file";
  const std::string pipe = (folder / "metrics.jsonl").string() + ": is not a regular file";
  Sinks sinks(folder.path());
  sinks.start();
  std::filesystem::create_directory(folder / "metrics.csv");
  CHECK(error_of([&] { sinks.add(epoch(1)); }) == csv);
  CHECK(error_of([&] { sinks.start(); }) == csv);
  CHECK(error_of([&] { sinks.resume(1); }) == csv);
  REQUIRE(::mkfifo((folder / "metrics.jsonl").c_str(), 0600) == 0);
  std::filesystem::remove(folder / "metrics.csv");
  CHECK(error_of([&] { sinks.add(epoch(1)); }) == pipe);
  CHECK(error_of([&] { sinks.resume(1); }) == pipe);
  CHECK(error_of([&] { read_metrics(folder.path()); }) == pipe);
  std::filesystem::remove(folder / "metrics.jsonl");
  REQUIRE(::mkfifo((folder / "steps.csv").c_str(), 0600) == 0);
  CHECK(error_of([&] { sinks.resume(1); }) == (folder / "steps.csv").string() + ": is not a regular file");
  CHECK(contains(error_of([&] { train::RunFolder(folder / std::string(300, 'x')).has_metrics(); }),
                 "can't be accessed: File name too long"));
}

TEST_CASE("a resumed run keeps the epochs before its own, and no incomplete line") {
  const TemporaryFolder folder;
  Sinks sinks(folder.path());
  sinks.resume(1);
  CHECK(!train::RunFolder(folder.path()).has_metrics());
  for (int number = 1; number <= 12; ++number) sinks.add(epoch(number));
  write_file(folder / "metrics.csv", read_file(folder / "metrics.csv") + "1");
  write_file(folder / "metrics.jsonl", read_file(folder / "metrics.jsonl") + R"({"epoch":1,"tra)");
  sinks.resume(3).add(epoch(3));
  const std::string expected =
      std::string(header) + "1" + line_after_epoch + "2" + line_after_epoch + "3" + line_after_epoch;
  CHECK(read_file(folder / "metrics.csv") == expected);
  CHECK(count_lines(folder / "metrics.jsonl") == 3);

  EpochResult again = epoch(3);  // its checkpoint could not be saved
  again.train_loss = 1.75;
  sinks.add(again);
  CHECK(contains(read_file(folder / "metrics.csv"), "\n3,1.75,"));
  sinks.add(epoch(3));
  CHECK(read_file(folder / "metrics.csv") == expected);
  CHECK(count_lines(folder / "metrics.jsonl") == 3);

  sinks.start();
  CHECK(read_file(folder / "metrics.csv") == header);
  CHECK(read_file(folder / "metrics.jsonl").empty());
}

TEST_CASE("lines of earlier versions, which wrote fewer columns, get empty cells") {
  const TemporaryFolder folder;
  write_file(
      folder / "metrics.csv",
      "epoch,train_loss\n1,1.5,0.1,0.75,0.25,0.0001,12.5,60,4096\n2,1.5,0.1,0.75,0.25,0.0001,12.5,60,4096,0.5\n");
  Sinks(folder.path()).resume(3).add(epoch(3));
  const std::string cells = ",1.5,0.1,0.75,0.25,0.0001,12.5,60,4096,";
  CHECK(read_file(folder / "metrics.csv") ==
        std::string(header) + "1" + cells + ",,,,,,,,\n2" + cells + "0.5,,,,,,,,\n3" + line_after_epoch);
}

TEST_CASE("every so many steps add a line to each file of steps") {
  const TemporaryFolder folder;
  Sinks sinks(folder.path(), 3);
  sinks.start();
  for (int number = 1; number <= 8; ++number) sinks.add(step(number));
  CHECK(read_file(folder / "steps.csv") == steps_of({3, 6}));
  CHECK(read_file(folder / "steps.jsonl").substr(0, read_file(folder / "steps.jsonl").find('\n')) ==
        R"({"step":3,"epoch":1,"batch":4,"loss":0.75,"loss_by_head":{"age":0.5,"the \"look\", say":null},)"
        R"("accuracy":{"age":0.625,"the \"look\", say":null},"learning_rate":0.001,"images_per_s":31.25})");
  CHECK(count_lines(folder / "steps.jsonl") == 2);
  CHECK(sinks.notes.empty());

  sinks.start();
  CHECK(read_file(folder / "steps.csv").empty());
  sinks.add(step(3));
  CHECK(read_file(folder / "steps.csv") == steps_of({3}));
  CHECK(count_lines(folder / "steps.jsonl") == 1);
}

TEST_CASE("a resumed run keeps the steps up to its own, and no line that a kill left unfinished") {
  const TemporaryFolder folder;
  const auto damage = [&] {
    write_file(folder / "steps.csv", read_file(folder / "steps.csv") + "5,1,6,0.");
    write_file(folder / "steps.jsonl", read_file(folder / "steps.jsonl") + R"({"step":5,"epoch":1)");
  };
  Sinks(folder.path(), 1).resume(1, 5).add(step(6));
  for (const std::int64_t kept : {4, 2, 0}) {
    CAPTURE(kept);
    Sinks sinks(folder.path(), 1);
    sinks.start();
    for (int number = 1; number <= 4; ++number) sinks.add(step(number));
    damage();
    sinks.resume(1, kept);
    for (std::int64_t number = kept + 1; number <= 12; ++number) sinks.add(step(number));
    CHECK(read_file(folder / "steps.csv") == steps_of({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
    CHECK(count_lines(folder / "steps.jsonl") == 12);
    CHECK(contains(read_file(folder / "steps.jsonl"), "}\n{\"step\":5,\"epoch\":1,\"batch\":6,"));
  }
  Sinks(folder.path(), 1).resume(1, 4);
  damage();
  Sinks(folder.path(), 1).resume(1, 12).add(step(13));  // the unfinished line is of a step that the run keeps
  CHECK(read_file(folder / "steps.csv") == steps_of({1, 2, 3, 4, 13}));
  CHECK(count_lines(folder / "steps.jsonl") == 5);
  write_file(folder / "steps.csv", read_file(folder / "steps.csv").substr(0, 20));  // a part of the header
  Sinks(folder.path(), 1).resume(2, 13).add(step(14));
  CHECK(read_file(folder / "steps.csv") == steps_of({14}));
  Sinks(folder.path()).resume(2, 4);  // without lines of steps from now on
  CHECK(read_file(folder / "steps.csv").empty());
  CHECK(count_lines(folder / "steps.jsonl") == 4);
}

TEST_CASE("a step's line that can't be written is left out, and told once") {
  const TemporaryFolder folder;
  Sinks sinks(folder.path(), 1);
  sinks.start();
  sinks.add(step(1));
  {
    const FileSizeLimit limit(std::filesystem::file_size(folder / "steps.csv") + 10);
    for (int number = 2; number <= 4; ++number) sinks.add(step(number));
  }
  CHECK(read_file(folder / "steps.csv") == steps_of({1}));
  sinks.add(step(5));
  CHECK(read_file(folder / "steps.csv") == steps_of({1, 5}));
  REQUIRE(sinks.notes.size() == 2);
  CHECK(sinks.notes[0] == "cannot write " + (folder / "steps.csv").string() +
                              ": File too large; the lines of steps that can't be written stay missing");
  CHECK(contains(sinks.notes[1], "steps.jsonl"));
  std::filesystem::remove(folder / "steps.csv");
  sinks.add(step(6));
  CHECK(read_file(folder / "steps.csv") == steps_of({6}));
}

TEST_CASE("a profile is a file of JSON, which the next one replaces") {
  const TemporaryFolder folder;
  StepProfile profile{.steps = 3,
                      .images = 64,
                      .images_per_s = 128,
                      .seconds = 0.5,
                      .waited_seconds = 0.125,
                      .seconds_by_kind = {{"convolution forward", 0.25}, {"loss", 0.0625}}};
  Sinks sinks(folder.path());
  sinks.start();
  CHECK(!std::filesystem::exists(folder / "profile.json"));
  sinks.add(profile);
  nlohmann::json expected{{"steps", 3},
                          {"images", 64},
                          {"images_per_s", 128.0},
                          {"seconds", 0.5},
                          {"waited_seconds", 0.125},
                          {"seconds_by_kind", {{"convolution forward", 0.25}, {"loss", 0.0625}}},
                          {"processes", 1}};
  CHECK(nlohmann::json::parse(read_file(folder / "profile.json")) == expected);

  profile.processes = 4;
  profile.communication = {.seconds = 0.25,
                           .waited_seconds = 0.0625,
                           .hidden = 0.75,
                           .cpu_seconds = 0.03125,
                           .other_seconds = 0.015,
                           .longest_other_seconds = 0.02};
  sinks.add(profile);
  expected["processes"] = 4;
  expected["communication"] = {{"seconds", 0.25},        {"waited_seconds", 0.0625}, {"hidden", 0.75},
                               {"cpu_seconds", 0.03125}, {"other_seconds", 0.015},   {"longest_other_seconds", 0.02}};
  CHECK(nlohmann::json::parse(read_file(folder / "profile.json")) == expected);
  CHECK(sinks.notes.empty());

  std::filesystem::remove(folder / "profile.json");
  std::filesystem::create_directory(folder / "profile.json");
  sinks.add(profile);
  REQUIRE(sinks.notes.size() == 1);
  CHECK(contains(sinks.notes[0], (folder / "profile.json").string()));
  CHECK(contains(sinks.notes[0], "; the profile isn't kept"));
}

TEST_CASE("read_metrics returns what was written, and what earlier versions wrote") {
  const TemporaryFolder folder;
  CHECK(read_metrics(folder.path()).empty());
  write_file(folder / "metrics.jsonl",
             R"({"epoch":1,"train_loss":1.5,"validation_accuracy":{"age":0.5},"images_per_s":10,"seconds":30})"
             "\n");
  Sinks sinks(folder.path());
  sinks.resume(2).add(epoch(2));
  EpochResult third = epoch(3);
  third.validation[0].labelled = 0;
  third.best = false;
  sinks.add(third);
  const std::vector<EpochMetrics> epochs = read_metrics(folder.path());
  REQUIRE(epochs.size() == 3);
  CHECK(epochs[0].validation_accuracy.at("age") == 0.5);
  CHECK(!epochs[0].best);
  CHECK(epochs[0].peak_resident_bytes == 0);
  CHECK(epochs[1].epoch == 2);
  CHECK(epochs[1].images_per_s == 12.5);
  CHECK(epochs[1].seconds == 60);
  CHECK(epochs[1].peak_resident_bytes == 4096);
  CHECK(epochs[1].validation_accuracy.at(heads[1].name) == 1.0 / 3);
  CHECK(epochs[1].best == true);
  CHECK(epochs[2].epoch == 3);
  CHECK(!epochs[2].validation_accuracy.at("age"));
  CHECK(epochs[2].best == false);
}

TEST_CASE("an invalid line is refused with its number") {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder / "metrics.jsonl";
  const std::string first = json_of(epoch(1));
  const auto error_with = [&](const std::string& line) {
    write_file(file, first + line + "\n");
    return error_of([&] { read_metrics(folder.path()); });
  };
  const std::string where = file.string() + ":2: ", others = R"(,"images_per_s":1,"seconds":1)";
  CHECK(error_with("") == where + "a JSON object is needed");
  CHECK(error_with(R"({"epoch":2,"imag)") == where + "a JSON object is needed");
  CHECK(error_with(R"({"epoch":0})") == where + "`epoch` is \"0\"; a whole number of 1 to 9007199254740992 is allowed");
  CHECK(error_with(R"({"epoch":2})") == where + "`images_per_s` is missing");
  CHECK(error_with(R"({"epoch":2)" + others + R"(,"best":1})") == where + "`best` is neither true nor false");
  CHECK(error_with(R"({"epoch":2)" + others + R"(,"validation_accuracy":[]})") ==
        where + "`validation_accuracy` is not a JSON object");
  CHECK(contains(error_with(R"({"epoch":2)" + others + R"(,"validation_accuracy":{"age":2}})"), where + "`age` is"));
}
