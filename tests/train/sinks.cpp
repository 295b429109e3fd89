#include "facet/sinks.h"

#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "testing.h"
#include "train/run_folder.h"
#include "train/small_run.h"

using namespace facet;

namespace {

/// Writes down what it is told, and how much of it is saved by then.
class Journal final : public TrainSink {
 public:
  explicit Journal(std::filesystem::path folder) : folder_(std::move(folder)) {}

  void on_start(const RunInfo& info) override { begin("start", info); }
  void on_resume(const RunInfo& info) override { begin("resume", info); }
  void on_step(const StepResult& result) override { lines.push_back("step " + std::to_string(result.step)); }
  void on_epoch(const EpochResult& result) override {
    lines.push_back("epoch " + std::to_string(result.epoch));
    const train::TrainingState saved = train::LastCheckpoint(train::RunFolder(folder_).last()).record().state;
    CHECK(saved.epoch == result.epoch + 1);
    CHECK(std::ssize(read_metrics(folder_)) == result.epoch);
  }
  void on_saving(bool begins) override { lines.push_back(begins ? "saving" : "saved"); }
  void on_end(const RunEnd& run_end) override {
    lines.emplace_back("end");
    end = run_end;
  }

  std::vector<std::string> lines;
  RunEnd end;

 private:
  void begin(const std::string& how, const RunInfo& info) {
    lines.push_back(how + " " + std::to_string(info.epoch) + " " + std::to_string(info.step));
    CHECK(info.model.heads == small::heads());
    CHECK(info.parameters == small::model().trainable_count());
    CHECK(info.frozen == 0);
    CHECK(info.options.batch == 8);
    CHECK(info.precision == Precision::f32);
    CHECK(info.threads == 2);
    CHECK(info.train_images == small::train_images);
    CHECK(info.validation_images == small::validation_set().size());
    CHECK(info.batches_per_epoch == small::batches);
    CHECK(info.steps_per_epoch == small::batches / 2);
  }

  std::filesystem::path folder_;
};

TrainOptions options_in(const std::filesystem::path& folder) {
  TrainOptions options = small::options(folder);
  options.epochs = 2;
  options.accumulate = 2;
  return options;
}

}  // namespace

TEST_CASE("sinks are told what happens, in its order, and an epoch once it is saved") {
  const TemporaryFolder folder;
  TrainOptions options = options_in(folder / "run");
  Journal first(options.out), second(options.out);
  {
    small::Run run(options);
    int calls = 0;
    CHECK(!run.trainer.run({&first}, [&] { return ++calls == 2; }));
  }
  CHECK(first.lines == std::vector<std::string>{"start 1 0", "step 1", "step 2", "saving", "saved", "end"});
  CHECK(!first.end.finished);
  CHECK(first.end.epoch == 0);
  CHECK(first.end.step == 2);
  CHECK(first.end.best_epoch == 0);
  CHECK(std::isnan(first.end.best));

  options.resume = true;
  small::Run run(options);
  CHECK(run.trainer.run({&second}));
  CHECK(second.lines == std::vector<std::string>{"resume 1 2", "step 3", "saving", "saved", "epoch 1", "step 4",
                                                 "step 5", "step 6", "saving", "saved", "epoch 2", "end"});
  CHECK(second.end.finished);
  CHECK(!second.end.stopped_early);
  CHECK(second.end.epoch == 2);
  CHECK(second.end.step == 6);
  CHECK(second.end.best >= 0);
  CHECK(second.end.best_epoch >= 1);

  Journal third(options.out);
  CHECK(run.trainer.run({&third}));
  CHECK(third.lines == std::vector<std::string>{"resume 3 6", "end"});
}

TEST_CASE("a sink that throws ends the run, which another call continues without a loss") {
  struct Throwing final : TrainSink {
    explicit Throwing(std::int64_t at_step, std::int64_t at_epoch) : step(at_step), epoch(at_epoch) {}
    void on_step(const StepResult& result) override {
      if (result.step == step) throw std::runtime_error("step");
    }
    void on_epoch(const EpochResult& result) override {
      if (result.epoch == epoch) throw std::runtime_error("epoch");
    }
    std::int64_t step, epoch;
  };
  const TemporaryFolder folder;
  small::Run whole(options_in(folder / "whole"));
  CHECK(whole.trainer.run());
  for (const auto& [step, epoch] : {std::pair{2, 0}, std::pair{6, 0}, std::pair{0, 1}, std::pair{0, 2}}) {
    CAPTURE(step);
    CAPTURE(epoch);
    TrainOptions options = options_in(folder / "run");
    options.log_every = 1;
    small::Run run(options);
    Throwing sink(step, epoch);
    int told = 0;
    const small::Functions count{.step = [&](const StepResult&) { ++told; }};
    small::FunctionSink before(count);
    CHECK_THROWS_AS(run.trainer.run({&before, &sink}), std::runtime_error);
    CHECK(run.trainer.run({&before}));
    CHECK(told == 6);
    CHECK(small::learnt(run.trainer) == small::learnt(whole.trainer));
    CHECK(read_metrics(options.out).size() == 2);
    const std::string steps = read_file(options.out / "steps.csv");
    CHECK(std::count(steps.begin(), steps.end(), '\n') == 7);
    std::filesystem::remove_all(options.out);
  }
}

TEST_CASE("a program's own file sinks write what the trainer's write") {
  const TemporaryFolder folder;
  TrainOptions options = options_in(folder / "run");
  options.log_every = 2;
  std::filesystem::create_directory(folder / "own");
  const auto csv = csv_sink(folder / "own"), json = json_sink(folder / "own");
  small::Run run(options);
  CHECK(run.trainer.run({csv.get(), json.get()}));
  for (const char* name : {"metrics.csv", "metrics.jsonl", "steps.csv", "steps.jsonl"}) {
    CHECK(read_file(folder / "own" / name) == read_file(options.out / name));
  }
}
