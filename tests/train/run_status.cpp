#include <doctest/doctest.h>

#include <filesystem>
#include <optional>

#include "facet/error.h"
#include "facet/files.h"
#include "facet/run_folder.h"
#include "testing.h"
#include "train/small_run.h"

using namespace facet;

namespace {

/// Trains one epoch in a folder. @param validated whether there is a validation set.
void train_one_epoch(const TrainOptions& options, bool validated) {
  Trainer trainer(small::model(), small::info(), small::train_set(), validated ? &small::validation_set() : nullptr,
                  options);
  trainer.run({});
}

TrainOptions one_epoch(const std::filesystem::path& out) {
  TrainOptions options = small::options(out);
  options.epochs = 1;
  return options;
}

}  // namespace

TEST_CASE("run folder: an empty folder holds no run") {
  const TemporaryFolder folder;
  CHECK(!holds_run(folder.path()));
  CHECK(!holds_run(folder / "missing"));
  CHECK(!read_run_status(folder.path()));
  CHECK(contains(error_of([&] { run_result(folder.path()); }), "isn't a run's folder"));
  write_file(folder / "metrics.csv", "epoch\n");
  CHECK(holds_run(folder.path()));
}

TEST_CASE("run folder: the status of a run, its result and what a resumed run may not change") {
  const TemporaryFolder folder;
  const TrainOptions options = one_epoch(folder / "run");
  train_one_epoch(options, true);
  CHECK(holds_run(options.out));
  const std::optional<RunStatus> status = read_run_status(options.out);
  REQUIRE(status);
  CHECK(status->epochs == 1);
  CHECK(status->precision == Precision::f32);
  CHECK(status->info.heads == small::heads());
  CHECK(run_result(options.out) == best_checkpoint(options.out));

  TrainOptions asked = options;
  asked.precision = PrecisionChoice::automatic;
  asked.epochs = 5;
  require_same_run(options.out, small::info(), asked, small::train_set());
  asked.batch = 4;
  CHECK(
      contains(error_of([&] { require_same_run(options.out, small::info(), asked, small::train_set()); }), "batch 8"));
  CHECK(contains(error_of([&] { require_same_run(options.out, small::info(), options, small::validation_set()); }),
                 "training"));
  ModelInfo other = small::info();
  other.model = "other";
  CHECK(contains(error_of([&] { require_same_run(options.out, other, options, small::train_set()); }), "model small"));
}

TEST_CASE("run folder: without a validation set the result is the last checkpoint, or its average") {
  const TemporaryFolder folder;
  TrainOptions options = one_epoch(folder / "run");
  train_one_epoch(options, false);
  CHECK(run_result(options.out) == last_checkpoint(options.out));
  options.out = folder / "averaged";
  options.ema_decay = 0.9;
  train_one_epoch(options, false);
  CHECK(run_result(options.out) == last_checkpoint(options.out).parent_path() / "last.average-6.safetensors");
}
