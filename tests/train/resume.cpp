#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "program/tuning_record.h"
#include "testing.h"
#include "train/small_run.h"

using namespace facet;
using small::Learnt;

namespace {

struct Outcome {
  Learnt learnt;
  std::vector<double> history;
  std::string best;
};

/// Trains to the end, or stops after `stop_after` steps where that is above 0.
Outcome train(const TrainOptions& options, int stop_after = 0) {
  small::Run run(options);
  small::History history;
  int steps = 0;
  const bool ended = small::train(run.trainer, {.step = [&](const StepResult&) { ++steps; },
                                                .epoch = [&](const EpochResult& result) { history.add(result); },
                                                .stop = [&] { return stop_after > 0 && steps >= stop_after; }});
  CHECK(ended == (stop_after == 0));
  return {small::learnt(run.trainer), history.numbers, read_file(options.out / "checkpoints" / "best.safetensors")};
}

/// The cells of a line of CSV whose cells are not quoted.
std::vector<std::string> cells_of(const std::string& line) {
  std::istringstream stream(line + ",");
  std::vector<std::string> cells;
  for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
  return cells;
}

/// A file of metrics without the columns that depend on timing and on the machine.
std::string metrics(const std::filesystem::path& folder, const char* name = "metrics.csv") {
  const std::set<std::string> measured{"images_per_s", "seconds", "peak_resident_bytes", "waited",
                                       "communication_waited"};
  std::istringstream lines(read_file(folder / name));
  std::string line, kept;
  std::vector<std::string> titles;
  while (std::getline(lines, line)) {
    const std::vector<std::string> cells = cells_of(line);
    if (titles.empty()) titles = cells;
    CHECK(cells.size() == titles.size());
    for (std::size_t i = 0; i < std::min(cells.size(), titles.size()); ++i) {
      if (!measured.contains(titles[i])) kept += cells[i] + " ";
    }
    kept += "\n";
  }
  return kept;
}

TrainOptions resumed(TrainOptions options) {
  options.resume = true;
  return options;
}

/// Checks that a stopped and resumed run equals an uninterrupted one, whose outcome it returns.
Outcome check_resume(const TrainOptions& base, int stop_after) {
  CAPTURE(stop_after);
  const TemporaryFolder folder;
  TrainOptions straight = base, stopped = base;
  straight.out = folder / "straight";
  stopped.out = folder / "stopped";
  const Outcome whole = train(straight);
  Outcome first = train(stopped, stop_after);
  const Outcome second = train(resumed(stopped));
  CHECK(second.learnt == whole.learnt);
  first.history.insert(first.history.end(), second.history.begin(), second.history.end());
  CHECK(first.history == whole.history);
  CHECK(second.best == whole.best);
  CHECK(metrics(stopped.out) == metrics(straight.out));
  if (base.log_every > 0) CHECK(metrics(stopped.out, "steps.csv") == metrics(straight.out, "steps.csv"));
  return whole;
}

}  // namespace

TEST_CASE("a resumed run gives the same bits as an uninterrupted one") {
  for (const int stop_after : {1, 3, small::batches - 1, small::batches, small::batches + 1, 3 * small::batches}) {
    TrainOptions options = small::options();
    options.log_every = 2;
    check_resume(options, stop_after);
  }
}

TEST_CASE("a resumed run gives the same bits in bf16") {
  if (!has_native_bf16()) {
    MESSAGE("left out: this CPU, or this oneDNN, computes no bf16");
    return;
  }
  TrainOptions options = small::options();
  options.precision = PrecisionChoice::bf16;
  check_resume(options, small::batches + 2);
}

TEST_CASE("a resumed run gives the same bits with every recipe") {
  using Kind = LearningRateSchedule::Kind;
  const std::pair<const char*, std::function<void(TrainOptions&)>> recipes[] = {
      {"sgd without momentum", [](TrainOptions& o) { o.optimizer = OptimizerKind::sgd, o.momentum = 0; }},
      {"nesterov", [](TrainOptions& o) { o.optimizer = OptimizerKind::sgd, o.nesterov = true, o.weight_decay = 0.01; }},
      {"warm-up and cosine", [](TrainOptions& o) { o.schedule = {.kind = Kind::cosine, .warmup_epochs = 1.2}; }},
      {"one cycle", [](TrainOptions& o) { o.schedule.kind = Kind::one_cycle; }},
      {"smoothed and weighted losses",
       [](TrainOptions& o) {
         o.label_smoothing = 0.1;
         o.class_weights["colour"].balanced = true;
         o.head_weights["side"] = 2;
       }},
      {"steps of four batches", [](TrainOptions& o) { o.accumulate = 4; }},
      {"clipped gradients", [](TrainOptions& o) { o.clip_norm = 0.5; }},
      {"averaged weights", [](TrainOptions& o) { o.ema_decay = 0.8; }},
      {"rates by fan-in", [](TrainOptions& o) { o.lr_fan_in = 8; }},
      {"frozen parts",
       [](TrainOptions& o) {
         o.freeze = {"stem.*", "block.bn1.*", "side.hidden.*"};
         o.ema_decay = 0.8;
       }},
      {"adamw",
       [](TrainOptions& o) { o.optimizer = OptimizerKind::adamw, o.weight_decay = 0.1, o.bias_decay = false; }},
  };
  const Outcome plain = [] {
    const TemporaryFolder folder;
    return train(small::options(folder / "run"));
  }();
  for (const auto& [name, change] : recipes) {
    CAPTURE(name);
    TrainOptions options = small::options();
    change(options);
    CHECK(check_resume(options, 3).history != plain.history);
  }
}

TEST_CASE("a resumed run gives the same bits with tuned primitives, which it takes from the run's tuning record") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "straight");
  options.tune = true;
  const Outcome whole = train(options);
  TrainOptions stopped = options;
  stopped.out = folder / "stopped";
  stopped.tuning_record = folder / "straight" / "tuning.json";
  train(stopped, small::batches + 2);
  stopped.tuning_record.clear();
  CHECK(train(resumed(stopped)).learnt == whole.learnt);
}

TEST_CASE("a resumed run uses the run's tuning record, and reports where it is missing") {
  const TemporaryFolder folder;
  const TrainOptions options = small::options(folder / "run");
  train(options, small::batches + 2);
  const std::filesystem::path file = options.out / "tuning.json";
  const auto notes = [&] {
    std::string all;
    TrainOptions again = resumed(options);
    small::Run run(again);
    small::train(run.trainer,
                 {.note = [&](const std::string& note) { all += note + "\n"; }, .stop = [] { return true; }});
    return all;
  };

  // Records a candidate that an untuned run doesn't choose by itself: it remains only if the run uses the record.
  const program::TuningRecord recorded = program::TuningRecord::load(file, false);
  program::TuningRecord tuning_record = recorded;
  int altered = 0;
  for (const auto& [key, candidate] : recorded.all()) {
    if (candidate != "direct channels_last") continue;
    tuning_record.record(key, "winograd f32");
    ++altered;
  }
  REQUIRE(altered > 0);
  tuning_record.save(file);
  CHECK(!contains(notes(), "tuning.json"));
  const program::TuningRecord taken = program::TuningRecord::load(file, false);
  CHECK(std::any_of(tuning_record.all().begin(), tuning_record.all().end(), [&](const auto& choice) {
    return choice.second != recorded.find(choice.first) && choice.second == taken.find(choice.first);
  }));
  std::filesystem::remove(file);
  CHECK(contains(notes(), file.string() + " is missing: primitives are chosen again"));
  CHECK(std::filesystem::exists(file));
}

TEST_CASE("an epoch that can't be saved is finished by the next call") {
  const TemporaryFolder folder;
  const Outcome whole = train(small::options(folder / "whole"));
  for (const char* blocked : {"checkpoints/best.safetensors", "metrics.csv", "checkpoints/last.safetensors"}) {
    CAPTURE(blocked);
    TrainOptions options = small::options(folder / "run");
    small::Run run(options);
    std::filesystem::create_directory(options.out / blocked);
    std::vector<std::int64_t> epochs;
    const small::Functions functions{.epoch = [&](const EpochResult& result) { epochs.push_back(result.epoch); }};
    CHECK(contains(error_of([&] { small::train(run.trainer, functions); }), blocked));
    CHECK(epochs.empty());
    std::filesystem::remove(options.out / blocked);
    CHECK(small::train(run.trainer, functions));
    CHECK(epochs == std::vector<std::int64_t>{1, 2, 3});
    CHECK(small::learnt(run.trainer) == whole.learnt);
    CHECK(read_file(options.out / "checkpoints" / "best.safetensors") == whole.best);
    CHECK(metrics(options.out) == metrics(folder / "whole"));
    std::filesystem::remove_all(options.out);
  }
}

TEST_CASE("a run that died is resumed from the checkpoint within its epoch") {
  const TemporaryFolder folder;
  const Outcome whole = train(small::options(folder / "whole"));
  TrainOptions options = small::options(folder / "died");
  options.checkpoint_minutes = 1e-9;
  {
    small::Run run(options);
    int steps = 0;
    CHECK_THROWS_AS(small::train(run.trainer, {.step =
                                                   [&](const StepResult&) {
                                                     if (++steps == small::batches + 4)
                                                       throw std::runtime_error("died");
                                                   }}),
                    std::runtime_error);
  }
  CHECK(std::filesystem::exists(options.out / "checkpoints" /
                                ("last.optimizer-" + std::to_string(small::batches + 3) + ".safetensors")));
  CHECK(train(resumed(options)).learnt == whole.learnt);
  CHECK(metrics(options.out) == metrics(folder / "whole"));
}

TEST_CASE("lines of epochs that are trained again aren't written twice") {
  const TemporaryFolder folder;
  const TrainOptions options = small::options(folder / "run");
  train(options, small::batches + 1);
  const std::string before = metrics(options.out);
  write_file(options.out / "metrics.csv", read_file(options.out / "metrics.csv") + "2,1,1,1,1,1,0.001,1,1\n3,0.");
  small::Run run(resumed(options));
  CHECK(!small::train(run.trainer, {.stop = [] { return true; }}));
  CHECK(metrics(options.out) == before);
}

TEST_CASE("a finished run is resumed with more epochs, and a stopped trainer runs on") {
  const TemporaryFolder folder;
  TrainOptions longer = small::options(folder / "longer");
  longer.epochs = 4;
  const Outcome whole = train(longer);

  TrainOptions options = small::options(folder / "run");
  train(options);
  options.epochs = 4;
  CHECK(train(resumed(options)).learnt == whole.learnt);
  CHECK(train(resumed(options)).learnt == whole.learnt);

  longer.out = folder / "twice";
  small::Run run(longer);
  int steps = 0;
  CHECK(!small::train(run.trainer, {.stop = [&] { return ++steps == 8; }}));
  CHECK(run.trainer.run());
  CHECK(small::learnt(run.trainer) == whole.learnt);
}

TEST_CASE("a run that stopped early is finished, until it is resumed with more patience") {
  const TemporaryFolder folder;
  const auto epochs_of = [](const TrainOptions& options, int stop_after = 0) {
    small::Run run(options);
    std::vector<bool> best;
    int steps = 0;
    small::train(run.trainer, {.step = [&](const StepResult&) { ++steps; },
                               .epoch = [&](const EpochResult& epoch) { best.push_back(epoch.best); },
                               .stop = [&] { return stop_after > 0 && steps >= stop_after; }});
    return best;
  };
  TrainOptions options = small::options(folder / "whole");
  options.epochs = 40;
  options.learning_rate = 1e-12;
  options.patience = 2;
  std::vector<bool> whole = epochs_of(options);
  REQUIRE(whole.size() < 40);
  REQUIRE(whole.size() > 2);
  CHECK(whole[0]);
  for (std::size_t epoch = 1; epoch + 2 < whole.size(); ++epoch) CHECK((whole[epoch] || whole[epoch + 1]));
  CHECK(!whole[whole.size() - 1]);
  CHECK(!whole[whole.size() - 2]);

  options.out = folder / "stopped";
  std::vector<bool> parts = epochs_of(options, static_cast<int>(whole.size() - 1) * small::batches + 2);
  for (const bool best : epochs_of(resumed(options))) parts.push_back(best);
  CHECK(parts == whole);
  CHECK(epochs_of(resumed(options)).empty());
  options.patience = 3;
  CHECK(!epochs_of(resumed(options)).empty());
}

TEST_CASE("a run whose schedule depends on the number of epochs can't be resumed with another number") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  options.schedule.kind = LearningRateSchedule::Kind::cosine;
  train(options, 3);
  options.epochs = 4;
  CHECK(contains(error_of([&] { small::Run run(resumed(options)); }), "schedule's epochs 3, requested is 4"));
}

TEST_CASE("resuming without a checkpoint starts a new run") {
  const TemporaryFolder folder;
  const Outcome started = train(resumed(small::options(folder / "run")));
  CHECK(started.learnt == train(small::options(folder / "other")).learnt);
}

TEST_CASE("a resumed run reports its position and its number of threads") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  train(options, small::batches + 2);
  options.resume = true;
  options.threads = 1;
  std::string notes;
  small::Run run(options);
  small::train(run.trainer, {.note = [&](const std::string& note) { notes += note + "\n"; }});
  CHECK(contains(notes, "at epoch 2, batch 2 (step 8)"));
  CHECK(contains(notes, "saved with 2 compute threads and goes on with 1"));
}

TEST_CASE("a changed validation set is reported, and resets best and patience") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  options.learning_rate = 1e-12;  // nothing is learnt: the first epoch is the best, unless another beats it by chance
  train(options);
  options.resume = true;
  options.epochs = 4;
  const auto first_epoch = [&](const Dataset& validation, std::string& notes) {
    TrainOptions more = options;
    more.out = folder / "copy";
    std::filesystem::remove_all(more.out);
    std::filesystem::copy(options.out, more.out, std::filesystem::copy_options::recursive);
    Trainer trainer(small::model(), small::info(), small::train_set(), &validation, more);
    bool best = false;
    small::train(trainer, {.epoch = [&](const EpochResult& result) { best = result.best; },
                           .note = [&](const std::string& note) { notes += note + "\n"; }});
    return best;
  };
  std::string same, other;
  first_epoch(small::validation_set(), same);
  CHECK(!contains(same, "validation set"));
  CHECK(first_epoch(small::images(20, 3), other));
  CHECK(contains(other, "the validation set has changed since the last checkpoint"));
}
