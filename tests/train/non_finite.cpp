#include <doctest/doctest.h>

#include <cmath>

#include "program/parameter_store.h"
#include "testing.h"
#include "train/run_folder.h"
#include "train/small_run.h"

using namespace facet;

namespace {

/// Makes a head's loss infinite after a step, as a run that diverges would.
void poison(Parameters& parameters, const char* name) {
  const int index = parameters.find(name);
  std::vector<float> values = parameters.get(index);
  values[0] = std::nanf("");
  parameters.set(index, values);
}

}  // namespace

TEST_CASE("a loss that isn't finite stops the run: step, head and last good checkpoint are named, and it stays") {
  const TemporaryFolder folder;
  const TrainOptions options = small::options(folder / "run");
  small::Run run(options);
  const std::string error = error_of([&] {
    run.trainer.run({.step = [&](const StepResult& step) {
      if (step.epoch == 2 && step.batch == 3) poison(run.trainer.parameters(), "side.logits.bias");
    }});
  });
  CAPTURE(error);
  CHECK(contains(error, "step 10 (epoch 2, batch 4 of 6)"));
  CHECK(contains(error, "side"));
  CHECK(!contains(error, "colour"));
  CHECK(contains(error, (options.out / "checkpoints" / "last.safetensors").string()));
  CHECK(contains(error, "of step 6"));
  CHECK(!contains(error, "\n"));

  CHECK(train::LastCheckpoint(train::RunFolder(options.out).last()).record().state.step == 6);
  Parameters last(small::model(), 0);
  load_weights(options.out / "checkpoints" / "last.safetensors", last);
  for (const float value : last.get(last.find("side.logits.bias"))) CHECK(std::isfinite(value));
}

TEST_CASE("so does a learning rate that is far too high") {
  TrainOptions options = small::options();
  options.learning_rate = 1e30;
  small::Run run(options);
  const std::string error = error_of([&] { run.trainer.run(); });
  CAPTURE(error);
  CHECK(contains(error, "(epoch 1, batch"));
  CHECK(contains(error, "no checkpoint"));
}

TEST_CASE("a weight that is no number is not saved, though no loss has shown it") {
  const TemporaryFolder folder;
  const TrainOptions options = small::options(folder / "run");
  Trainer trainer(small::model(), small::info(), small::train_set(), nullptr, options);
  const std::string weight = trainer.parameters().list()[0].name;
  const std::string error = error_of([&] {
    trainer.run({.step = [&](const StepResult& step) {
      if (step.epoch == 2 && step.batch == step.batches) poison(trainer.parameters(), weight.c_str());
    }});
  });
  CAPTURE(error);
  CHECK(contains(error, "parameter '" + weight + "' isn't finite"));
  CHECK(contains(error, (options.out / "checkpoints" / "last.safetensors").string()));
  Parameters last(small::model(), 0);
  load_weights(options.out / "checkpoints" / "last.safetensors", last);
  CHECK(last.state().find_not_finite() == -1);
}

TEST_CASE("so does a validation loss") {
  const TemporaryFolder folder;
  const TrainOptions options = small::options(folder / "run");
  small::Run run(options);
  const std::string error = error_of([&] {
    run.trainer.run({.step = [&](const StepResult& step) {
      if (step.batch == step.batches) poison(run.trainer.parameters(), "colour.logits.bias");
    }});
  });
  CAPTURE(error);
  CHECK(contains(error, "validation after epoch 1 (step 6)"));
  CHECK(contains(error, "colour"));
  CHECK(contains(error, "there is no checkpoint yet"));
}
