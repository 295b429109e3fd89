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
  CHECK(!small::train(run.trainer, {.step = [&](const StepResult&) { ++steps; },
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

TEST_CASE("validation can be stopped, and runs again when the run is resumed") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  {
    small::Run run(options);
    int steps = 0, stop_calls = 0;
    CHECK(!small::train(run.trainer, {.step = [&](const StepResult&) { ++steps; },
                                      .stop = [&] { return ++stop_calls == small::batches + 2; }}));
    CHECK(steps == small::batches);
  }
  CHECK(train::LastCheckpoint(train::RunFolder(options.out).last()).record().state.batch == small::batches);
  options.resume = true;
  small::Run run(options);
  int first = 0;
  CHECK(small::train(run.trainer, {.epoch = [&](const EpochResult& result) {
                       first = first == 0 ? static_cast<int>(result.epoch) : first;
                     }}));
  CHECK(first == 1);
}

TEST_CASE("without a folder a stopped run continues from where it stopped") {
  const TrainOptions options = small::options();
  small::Run whole(options), stopped(options);
  CHECK(whole.trainer.run());
  int stop_calls = 0;
  CHECK(!small::train(stopped.trainer, {.stop = [&] { return ++stop_calls == 4; }}));
  CHECK(stopped.trainer.run());
  CHECK(small::learnt(whole.trainer.parameters()) == small::learnt(stopped.trainer.parameters()));
}

TEST_CASE("a run that is stopped at every opportunity finishes all the same") {
  const TrainOptions options = small::options();
  small::Run whole(options), stopped(options);
  small::History uninterrupted, interrupted;
  CHECK(small::train(whole.trainer, {.epoch = [&](const EpochResult& result) { uninterrupted.add(result); }}));
  int calls = 1;
  while (!small::train(stopped.trainer, {.epoch = [&](const EpochResult& result) { interrupted.add(result); },
                                         .stop = [] { return true; }})) {
    REQUIRE(++calls < 100);
  }
  CHECK(interrupted.numbers == uninterrupted.numbers);
  CHECK(small::learnt(stopped.trainer) == small::learnt(whole.trainer));
}

TEST_CASE("a sink is told when a checkpoint is written, and for no step or epoch meanwhile") {
  const TemporaryFolder folder;
  small::Run run(small::options(folder / "run"));
  bool saving = false;
  int saved = 0;
  small::train(run.trainer, {.step = [&](const StepResult&) { CHECK(!saving); },
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
