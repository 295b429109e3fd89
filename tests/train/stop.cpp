#include <doctest/doctest.h>

#include "temporary_folder.h"
#include "train/run_folder.h"
#include "train/small_run.h"

using namespace facet;

TEST_CASE("stopping finishes the step and saves") {
  const TemporaryFolder folder;
  const TrainOptions options = small::options(folder / "run");
  small::Run run(options);
  int steps = 0, epochs = 0;
  CHECK(!run.trainer.run({.step = [&](const StepResult&) { ++steps; },
                          .epoch = [&](const EpochResult&) { ++epochs; },
                          .stop = [&] { return steps == 9; }}));
  CHECK(steps == 9);
  CHECK(epochs == 1);
  const train::TrainingState state = train::RunFolder(options.out).read_record().state;
  CHECK(state.epoch == 2);
  CHECK(state.batch == 3);
  CHECK(state.step == 9);
  CHECK(state.sums.images == 24);
}

TEST_CASE("validation can be stopped, and is done again") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  {
    small::Run run(options);
    int steps = 0, asked = 0;
    CHECK(!run.trainer.run(
        {.step = [&](const StepResult&) { ++steps; }, .stop = [&] { return ++asked == small::batches + 2; }}));
    CHECK(steps == small::batches);
  }
  CHECK(train::RunFolder(options.out).read_record().state.batch == small::batches);
  options.resume = true;
  small::Run run(options);
  int first = 0;
  CHECK(run.trainer.run(
      {.epoch = [&](const EpochResult& result) { first = first == 0 ? static_cast<int>(result.epoch) : first; }}));
  CHECK(first == 1);
}

TEST_CASE("without a folder a stopped run goes on where it stood") {
  const TrainOptions options = small::options();
  small::Run whole(options), stopped(options);
  CHECK(whole.trainer.run());
  int asked = 0;
  CHECK(!stopped.trainer.run({.stop = [&] { return ++asked == 4; }}));
  CHECK(stopped.trainer.run());
  CHECK(small::learnt(whole.trainer.parameters()) == small::learnt(stopped.trainer.parameters()));
}
