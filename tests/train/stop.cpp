#include <doctest/doctest.h>

#include "testing.h"
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
  const train::TrainingState state = train::LastCheckpoint(train::RunFolder(options.out).last()).record().state;
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
  CHECK(train::LastCheckpoint(train::RunFolder(options.out).last()).record().state.batch == small::batches);
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

TEST_CASE("a run that is stopped at every chance comes to its end all the same") {
  const TrainOptions options = small::options();
  small::Run whole(options), stopped(options);
  small::History at_once, in_pieces;
  CHECK(whole.trainer.run({.epoch = [&](const EpochResult& result) { at_once.add(result); }}));
  int calls = 1;
  while (!stopped.trainer.run(
      {.epoch = [&](const EpochResult& result) { in_pieces.add(result); }, .stop = [] { return true; }})) {
    REQUIRE(++calls < 100);
  }
  CHECK(in_pieces.numbers == at_once.numbers);
  CHECK(small::learnt(stopped.trainer) == small::learnt(whole.trainer));
}

TEST_CASE("an observer is told when checkpoints are written, and of no step or epoch meanwhile") {
  const TemporaryFolder folder;
  small::Run run(small::options(folder / "run"));
  bool saving = false;
  int saved = 0;
  run.trainer.run({.step = [&](const StepResult&) { CHECK(!saving); },
                   .epoch = [&](const EpochResult&) { CHECK(!saving); },
                   .saving =
                       [&](bool begins) {
                         CHECK(saving != begins);
                         saving = begins;
                         saved += begins ? 1 : 0;
                       }});
  CHECK(saved == 3);
  CHECK(!saving);
}
