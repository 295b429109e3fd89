#include "facet/session.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "facet/files.h"
#include "facet/training.h"
#include "testing.h"
#include "train/small_run.h"

using namespace facet;

namespace {

TrainOptions options() {
  TrainOptions result = small::options();
  result.epochs = 1;
  return result;
}

LoaderOptions loading() { return {.batch = 8, .size = small::size, .threads = 1, .seed = 5}; }

TrainingSession session(const TrainOptions& train_options = options()) {
  return {small::model(), small::info(), train_options};
}

/// Trains `epochs` epochs, from `first` on, in a loop of the test's own.
void train(TrainingSession& model, std::int64_t first, std::int64_t epochs) {
  Loader loader(small::train_set(), loading());
  for (std::int64_t epoch = first; epoch < first + epochs; ++epoch) {
    loader.start_epoch(epoch);
    while (const Batch* batch = loader.next()) model.step(*batch);
  }
}

small::Learnt learnt(TrainingSession& model) {
  small::Learnt values = small::learnt(model.parameters());
  for (const auto& [name, value] : small::learnt(model.evaluated_parameters())) values["evaluated." + name] = value;
  return values;
}

Batch first_batch() {
  Loader loader(small::train_set(), loading());
  loader.start_epoch(1);
  return *loader.next();
}

}  // namespace

TEST_CASE("a loop of steps learns the same bits as a trainer") {
  TrainOptions with = options();
  SUBCASE("plain") {}
  SUBCASE("averaged and clipped") {
    with.ema_decay = 0.9;
    with.clip_norm = 1;
  }
  small::Run run(with);
  run.trainer.run();
  TrainingSession own = session(with);
  train(own, 1, 1);
  CHECK(own.finished_steps() == small::batches);
  CHECK(learnt(own) == small::learnt(run.trainer));
  CHECK(learnt(run.trainer.session()) == learnt(own));

  const std::vector<HeadResult> heads = own.evaluate(small::validation_set());
  REQUIRE(heads.size() == 3);
  const std::vector<HeadResult> again = run.trainer.session().evaluate(small::validation_set());
  for (std::size_t head = 0; head < heads.size(); ++head) {
    CHECK(heads[head].loss == again[head].loss);
    CHECK(heads[head].confusion == again[head].confusion);
  }
}

TEST_CASE("steps of several batches learn the same bits as a trainer that accumulates") {
  TrainOptions with = options();
  with.accumulate = 4;
  small::Run run(with);
  run.trainer.run();
  TrainingSession own = session(with);
  Loader loader(small::train_set(), loading());
  loader.start_epoch(1);
  std::int64_t done = 0;
  while (const Batch* batch = loader.next()) {
    ++done;
    own.step(*batch, {.update = done % 4 == 0 || done == loader.batches_per_epoch()});
  }
  CHECK(own.finished_steps() == 2);
  CHECK(learnt(own) == small::learnt(run.trainer));
}

TEST_CASE("each step tells the loss of each head and takes a learning rate of its own") {
  TrainOptions with = options();
  with.head_weights = {{"side", 0.25}};
  TrainingSession model = session(with);
  const Batch batch = first_batch();
  const std::vector<float> before = model.get("stem.conv.weight");
  const BatchResult result = model.step(batch, {.learning_rate = 1e-9});
  CHECK(result.step == 1);
  REQUIRE(result.heads.size() == 3);
  CHECK(result.loss == doctest::Approx(result.heads[0].loss + 0.25 * result.heads[1].loss + result.heads[2].loss));
  std::int64_t labelled = 0;
  for (std::size_t image = 0; image < 8; ++image) labelled += batch.labels[8 + image] != no_label ? 1 : 0;
  CHECK(result.heads[1].labelled == labelled);
  CHECK(result.heads[1].correct <= labelled);

  const auto furthest = [&] {
    const std::vector<float> now = model.get("stem.conv.weight");
    float most = 0;
    for (std::size_t i = 0; i < now.size(); ++i) most = std::max(most, std::abs(now[i] - before[i]));
    return most;
  };
  CHECK(furthest() < 2e-9F);
  model.step(batch, {.learning_rate = 1e-2});  // Adam's second step with the same batch moves weights by about the rate
  CHECK(furthest() > 5e-3F);
}

TEST_CASE("gradients are those that an SGD step subtracts") {
  TrainOptions with = options();
  with.optimizer = OptimizerKind::sgd;
  with.momentum = 0;
  with.learning_rate = 0.5;
  with.keep_gradients = true;
  TrainingSession model = session(with);
  CHECK(contains(error_of([&] { model.gradient("stem.conv.weight"); }), "no step has been run"));
  const Batch batch = first_batch();
  for (const char* name : {"stem.conv.weight", "block.bn2.bias", "side.logits.weight"}) {
    CAPTURE(name);
    const std::vector<float> before = model.get(name);
    model.step(batch);
    const std::vector<float> after = model.get(name), gradient = model.gradient(name);
    REQUIRE(gradient.size() == before.size());
    for (std::size_t i = 0; i < gradient.size(); ++i) CHECK(before[i] - 0.5F * gradient[i] == after[i]);
  }
  CHECK(contains(error_of([&] { model.gradient("stem.bn.running_mean"); }), "isn't trained"));
  CHECK(contains(error_of([&] { model.gradient("stem.none"); }), "stem.none"));
  TrainingSession without = session();
  without.step(batch);
  CHECK(contains(error_of([&] { without.gradient("stem.conv.weight"); }), "keep_gradients"));
}

TEST_CASE("keeping gradients changes no bit, and a gradient of several batches is their mean") {
  TrainOptions with = options();
  with.keep_gradients = true;
  TrainingSession keeping = session(with), plain = session();
  train(keeping, 1, 1);
  train(plain, 1, 1);
  CHECK(learnt(keeping) == learnt(plain));

  with.accumulate = 2;
  with.freeze = {"*.bn*"};  // so that the second batch sees the same network
  TrainingSession one = session(with), two = session(with);
  const Batch batch = first_batch();
  one.step(batch, {.update = false});
  const std::vector<float> first = one.gradient("stripes.logits.bias");
  one.step(batch);
  two.step(batch, {.update = false});
  CHECK(two.gradient("stripes.logits.bias") == first);
  CHECK(one.gradient("stripes.logits.bias") != first);  // dropout's masks differ within a step
}

TEST_CASE("the best weights are kept in memory and restored") {
  TrainOptions with = options();
  SUBCASE("plain") {}
  SUBCASE("averaged") { with.ema_decay = 0.5; }
  TrainingSession model = session(with);
  CHECK(contains(error_of([&] { model.restore_best(); }), "keep_if_best"));
  CHECK(!model.best_score());
  CHECK(!model.keep_if_best(std::numeric_limits<double>::quiet_NaN()));
  CHECK(model.keep_if_best(0.5));
  const small::Learnt best = small::learnt(model.evaluated_parameters());
  const std::vector<float> weight = model.get("stem.conv.weight");
  train(model, 1, 1);
  CHECK(model.get("stem.conv.weight") != weight);
  CHECK(!model.keep_if_best(0.5));
  CHECK(!model.keep_if_best(std::numeric_limits<double>::quiet_NaN()));
  CHECK(model.best_score() == 0.5);
  model.restore_best();
  const Parameters& restored = model.parameters();
  for (std::size_t i = 0; i < restored.list().size(); ++i) {
    const auto index = static_cast<int>(i);
    CHECK(restored.get(index) == best.at(restored.list()[i].name));
  }
  CHECK(model.keep_if_best(0.75));
}

TEST_CASE("a predictor of a live session computes with the weights of its moment") {
  TrainingSession model = session();
  train(model, 1, 1);
  const TemporaryFolder folder;
  model.save(folder / "model.safetensors");
  Predictor from_file(folder / "model.safetensors", small::model());
  Predictor live = model.predictor();
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(small::size) * small::size * 3);
  small::validation_set().load({.index = 3, .size = small::size}, pixels);
  const std::vector<float> logits = from_file.predict(pixels)[0].logits;
  CHECK(live.predict(pixels)[0].logits == logits);
  train(model, 2, 1);
  CHECK(live.predict(pixels)[0].logits == logits);
  CHECK(model.predictor().predict(pixels)[0].logits != logits);
  model.load(folder / "model.safetensors");
  CHECK(model.predictor().predict(pixels)[0].logits == logits);
  model.set("stem.conv.weight", std::vector<float>(model.get("stem.conv.weight").size(), NAN));
  CHECK(contains(error_of([&] { model.predictor(); }), "stem.conv.weight"));
}

TEST_CASE("a checkpoint continues to the same bits") {
  TrainOptions with = options();
  with.ema_decay = 0.9;
  TrainingSession whole = session(with);
  train(whole, 1, 2);
  const TemporaryFolder folder;
  {
    TrainingSession first = session(with);
    train(first, 1, 1);
    first.save_checkpoint(folder / "run");
  }
  TrainingSession second = session(with);
  second.load_checkpoint(folder / "run");
  CHECK(second.finished_steps() == small::batches);
  train(second, 2, 1);
  CHECK(learnt(second) == learnt(whole));

  // A refusal changes nothing.
  with.optimizer = OptimizerKind::adamw;
  TrainingSession other = session(with);
  train(other, 1, 1);
  const small::Learnt before = learnt(other);
  CHECK(contains(error_of([&] { other.load_checkpoint(folder / "run"); }),
                 "it holds the state of the optimizer adam; the session's is adamw"));
  CHECK(contains(error_of([&] { other.load_checkpoint(folder / "none"); }), "none"));
  with.optimizer = OptimizerKind::adam;
  std::filesystem::remove(folder / "run" / "checkpoints" / "last.average-6.safetensors");
  TrainingSession incomplete = session(with);
  const small::Learnt fresh = learnt(incomplete);
  CHECK(contains(error_of([&] { incomplete.load_checkpoint(folder / "run"); }), "last.average-6.safetensors"));
  CHECK(learnt(incomplete) == fresh);
  CHECK(learnt(other) == before);
}

TEST_CASE("a checkpoint keeps the primitives that tuning chose") {
  TrainOptions with = options();
  with.tune = true;
  with.threads = 1;
  const TemporaryFolder folder;
  TrainingSession whole = session(with);
  train(whole, 1, 1);
  whole.save_checkpoint(folder / "run");
  train(whole, 2, 1);
  with.tuning_record = folder / "run" / "tuning.json";
  TrainingSession second = session(with);
  second.load_checkpoint(folder / "run");
  train(second, 2, 1);
  CHECK(learnt(second) == learnt(whole));
}

TEST_CASE("checkpoints of sessions and of trainers don't replace each other") {
  const TemporaryFolder folder;
  TrainOptions with = options();
  with.out = folder / "run";
  {
    small::Run run(with);
    run.trainer.run();
  }
  TrainingSession model = session();
  model.load_checkpoint(folder / "run");
  CHECK(model.finished_steps() == small::batches);
  CHECK(contains(error_of([&] { model.gradient("stem.conv.weight"); }), "keep_gradients"));
  CHECK(contains(error_of([&] { model.save_checkpoint(folder / "run"); }), "holds a run of a trainer"));
  model.save_checkpoint(folder / "own");
  with.out = folder / "own";
  with.resume = true;
  CHECK(contains(error_of([&] { small::Run run(with); }), "saved by a TrainingSession"));
  const FolderLock lock(folder / "own");
  CHECK(contains(error_of([&] { model.save_checkpoint(folder / "own"); }), "in use"));
}

TEST_CASE("a step that isn't finished can't be saved, and an error begins it anew") {
  TrainOptions with = options();
  with.accumulate = 2;
  with.keep_gradients = true;
  TrainingSession model = session(with), other = session(with);
  const Batch good = first_batch();
  model.step(good, {.update = false});
  CHECK(contains(error_of([&] { model.save_checkpoint("unused"); }), "isn't updated yet"));
  model.set("side.logits.bias", {NAN, 0});
  CHECK(contains(error_of([&] { model.step(good); }), "side.logits.bias"));
  model.set("side.logits.bias", other.get("side.logits.bias"));
  // Running statistics have moved; the gradients begin again.
  other.step(good, {.update = false});
  CHECK(model.step(good, {.update = false}).step == 1);
  CHECK(model.gradient("side.logits.bias").size() == 2);
  CHECK(model.gradient("side.logits.bias") == other.gradient("side.logits.bias"));
}

TEST_CASE("a step's own momentum, and numbers that aren't allowed") {
  TrainOptions with = options();
  with.optimizer = OptimizerKind::sgd;
  with.momentum = 0.9;
  TrainingSession one = session(with), other = session(with);
  with.momentum = 0.5;
  TrainingSession half = session(with);
  const Batch batch = first_batch();
  for (TrainingSession* each : {&one, &other, &half}) each->step(batch);
  one.step(batch, {.momentum = 0.5});
  other.step(batch);
  half.step(batch);
  CHECK(one.get("stem.conv.weight") == half.get("stem.conv.weight"));
  CHECK(one.get("stem.conv.weight") != other.get("stem.conv.weight"));
  CHECK(contains(error_of([&] { one.step(batch, {.momentum = 1}); }), "momentum is 1"));
  CHECK(contains(error_of([&] { one.step(batch, {.learning_rate = -1}); }), "learning_rate is -1"));
  CHECK(contains(error_of([&] { one.step(batch, {.learning_rate = NAN}); }), "learning_rate is nan"));
  CHECK(one.finished_steps() == 2);
}

TEST_CASE("gradients are kept before clipping") {
  TrainOptions with = options();
  with.keep_gradients = true;
  TrainingSession plain = session(with);
  with.clip_norm = 1e-3;
  TrainingSession clipped = session(with);
  const Batch batch = first_batch();
  plain.step(batch);
  clipped.step(batch);
  CHECK(clipped.gradient("stem.conv.weight") == plain.gradient("stem.conv.weight"));
}

TEST_CASE("an evaluation that is stopped covers the images so far") {
  TrainingSession model = session();
  int calls = 0;
  const std::vector<HeadResult> heads = model.evaluate(small::validation_set(), [&] { return ++calls == 2; });
  CHECK(heads[0].labelled == 16);
}

TEST_CASE("sessions run at the same time in threads of their own") {
  TrainOptions with = options();
  with.threads = 1;
  TrainingSession alone = session(with);
  train(alone, 1, 1);
  TrainingSession one = session(with), other = session(with);
  std::thread second([&] { train(other, 1, 1); });
  train(one, 1, 1);
  second.join();
  CHECK(learnt(one) == learnt(alone));
  CHECK(learnt(other) == learnt(alone));
}

TEST_CASE("a batch that doesn't fit is refused and changes nothing") {
  TrainingSession model = session();
  const small::Learnt before = learnt(model);
  const Batch good = first_batch();
  const auto refusal = [&](const auto& change) {
    Batch batch = good;
    change(batch);
    return error_of([&] { model.step(batch); });
  };
  CHECK(contains(refusal([](Batch& b) { b.size = 0; }), "a batch of 0 images found; 1 to 8 are allowed"));
  CHECK(contains(refusal([](Batch& b) { b.size = 9; }), "a batch of 9 images found; 1 to 8 are allowed"));
  CHECK(contains(refusal([](Batch& b) { b.pixels.pop_back(); }), "bytes of pixels"));
  CHECK(contains(refusal([](Batch& b) { b.labels.push_back(0); }), "labels"));
  CHECK(contains(refusal([](Batch& b) { b.labels[8 + 2] = 2; }), "image 3 of the batch has the label 2 for head side"));
  CHECK(contains(refusal([](Batch& b) { b.labels[0] = -2; }), "label -2"));
  CHECK(contains(error_of([&] { model.step(good, {.update = false}); }), "accumulate"));
  CHECK(model.finished_steps() == 0);
  CHECK(learnt(model) == before);
}

TEST_CASE("balanced class weights need a data set") {
  TrainOptions with = options();
  with.class_weights["colour"].balanced = true;
  CHECK(contains(error_of([&] { session(with); }), "balanced_class_weights()"));
  const std::vector<double> weights = balanced_class_weights(small::train_set(), "colour");
  CHECK(weights.size() == 3);
  with.class_weights["colour"] = {.values = weights};
  TrainingSession model = session(with);
  CHECK(std::isfinite(model.step(first_batch()).loss));
  CHECK(contains(error_of([&] { balanced_class_weights(small::train_set(), "age"); }), "colour, side, stripes"));
}

TEST_CASE("a session that was moved from says so") {
  TrainingSession first = session();
  const TrainingSession second = std::move(first);
  CHECK(second.finished_steps() == 0);
  CHECK(contains(error_of([&] { first.finished_steps(); }), "moved from"));
}

TEST_CASE("schedules are available to a loop of one's own") {
  TrainOptions with = options();
  with.epochs = 10;
  with.schedule.kind = LearningRateSchedule::Kind::one_cycle;
  CHECK(scheduled_learning_rate(with, 7, 1) == doctest::Approx(with.learning_rate / 25));
  CHECK(scheduled_momentum(with, 7, 1) == doctest::Approx(0.95));
  with.schedule.kind = LearningRateSchedule::Kind::cosine;
  CHECK(scheduled_learning_rate(with, 7, 1) == with.learning_rate);
  CHECK(scheduled_learning_rate(with, 7, 36) == doctest::Approx(with.learning_rate / 2));
  CHECK(!scheduled_momentum(with, 7, 36));
  CHECK(contains(error_of([&] { scheduled_learning_rate(with, 0, 1); }), "1 or more"));
}
