#include <doctest/doctest.h>

#include <cmath>

#include "program/parameter_store.h"
#include "testing.h"
#include "train/run_folder.h"
#include "train/small_run.h"

using namespace facet;

namespace {

/// Sets a parameter's first value to NaN, as a run that diverges does.
void poison(Parameters& parameters, const char* name) {
  const int index = parameters.find(name);
  std::vector<float> values = parameters.get(index);
  values[0] = std::nanf("");
  parameters.set(index, values);
}

}  // namespace

TEST_CASE("a non-finite loss stops the run: the error names step, head and last good checkpoint, which is kept") {
  const TemporaryFolder folder;
  const TrainOptions options = small::options(folder / "run");
  small::Run run(options);
  const std::string error = error_of([&] {
    small::train(run.trainer, {.step = [&](const StepResult& step) {
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

TEST_CASE("a learning rate that is far too high stops the run") {
  TrainOptions options = small::options();
  options.learning_rate = 1e30;
  small::Run run(options);
  const std::string error = error_of([&] { run.trainer.run(); });
  CAPTURE(error);
  CHECK(contains(error, "(epoch 1, batch"));
  CHECK(contains(error, "no checkpoint"));
}

TEST_CASE("a NaN weight is not saved, even though no loss has revealed it") {
  const TemporaryFolder folder;
  const TrainOptions options = small::options(folder / "run");
  Trainer trainer(small::model(), small::info(), small::train_set(), nullptr, options);
  const std::string weight = trainer.parameters().list()[0].name;
  const std::string error = error_of([&] {
    small::train(trainer, {.step = [&](const StepResult& step) {
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

TEST_CASE("a non-finite validation loss stops the run") {
  const TemporaryFolder folder;
  const TrainOptions options = small::options(folder / "run");
  small::Run run(options);
  const std::string error = error_of([&] {
    small::train(run.trainer, {.step = [&](const StepResult& step) {
                   if (step.batch == step.batches) poison(run.trainer.parameters(), "colour.logits.bias");
                 }});
  });
  CAPTURE(error);
  CHECK(contains(error, "validation after epoch 1 (step 6)"));
  CHECK(contains(error, "colour"));
  CHECK(contains(error, "there is no checkpoint yet"));
}
