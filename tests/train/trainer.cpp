#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "facet/inference.h"
#include "formats/safetensors.h"
#include "program/tuning_record.h"
#include "testing.h"
#include "train/recipe.h"
#include "train/small_run.h"

using namespace facet;
using small::Run;

TEST_CASE("a model overfits 64 synthetic images in every head") {
  const MemoryDataset data = small::images(64, 9);
  TrainOptions options = small::options();
  options.epochs = 60;
  options.batch = 16;
  options.flip = false;
  Trainer trainer(small::model(), small::info(), data, &data, options);
  std::vector<HeadResult> last;
  double first_loss = 0, last_loss = 0;
  REQUIRE(small::train(trainer, {.epoch = [&](const EpochResult& result) {
                         if (result.epoch == 1) first_loss = result.train_loss;
                         last_loss = result.train_loss;
                         last = result.validation;
                       }}));
  REQUIRE(last.size() == 3);
  for (const HeadResult& head : last) CHECK_MESSAGE(head.accuracy == 1, head.head, ": ", head.accuracy);
  CHECK(last_loss < 0.2 * first_loss);
}

TEST_CASE("training and validation resize images in the model's resize mode") {
  const MemoryDataset& drawn = small::train_set();
  // Each image within a wide one, and the crop of that.
  MemoryDataset wide(small::heads()), cropped(small::heads());
  for (std::int64_t index = 0; index < drawn.size(); ++index) {
    Image image{small::size, small::size, std::vector<std::uint8_t>(small::size * small::size * 3)};
    drawn.load({.index = index, .size = small::size}, image.pixels);
    Image whole{3 * small::size, small::size, {}};
    const std::ptrdiff_t row = std::ptrdiff_t{small::size} * 3;
    for (int y = 0; y < small::size; ++y) {
      for (int part = 0; part < 3; ++part) {
        whole.pixels.insert(whole.pixels.end(), image.pixels.begin() + y * row, image.pixels.begin() + (y + 1) * row);
      }
    }
    resize(whole, small::size, ResizeMode::crop, image.pixels);
    const std::vector<std::int32_t> labels(drawn.labels(index).begin(), drawn.labels(index).end());
    cropped.add(image, labels);
    wide.add(std::move(whole), labels);
  }
  const auto history = [](const MemoryDataset& data, ResizeMode mode) {
    ModelInfo info = small::info();
    info.resize = mode;
    TrainOptions options = small::options();
    options.epochs = 1;
    Trainer trainer(small::model(), info, data, &data, options);
    small::History results;
    REQUIRE(small::train(trainer, {.epoch = [&](const EpochResult& result) { results.add(result); }}));
    return results.numbers;
  };
  const std::vector<double> expected = history(cropped, ResizeMode::squash);
  CHECK(history(wide, ResizeMode::crop) == expected);
  CHECK(history(wide, ResizeMode::squash) != expected);
}

TEST_CASE("every image of an epoch is trained on, the last small batch included") {
  Run run(small::options());
  std::vector<StepResult> steps;
  std::vector<EpochResult> epochs;
  REQUIRE(small::train(run.trainer, {.step = [&](const StepResult& step) { steps.push_back(step); },
                                     .epoch = [&](const EpochResult& epoch) { epochs.push_back(epoch); }}));
  REQUIRE(steps.size() == 3 * small::batches);
  REQUIRE(epochs.size() == 3);
  double loss = 0, colour_loss = 0;
  for (int index = 0; index < small::batches; ++index) {
    const StepResult& step = steps[static_cast<std::size_t>(small::batches + index)];
    CHECK(step.step == small::batches + index + 1);
    CHECK(step.epoch == 2);
    CHECK(step.batch == index + 1);
    CHECK(step.batches == small::batches);
    CHECK(step.images == std::min(small::train_images, 8 * (index + 1)));
    CHECK(step.images_per_s > 0);
    CHECK(step.seconds_left >= 0);
    REQUIRE(step.head_loss.size() == 3);
    CHECK(step.loss == doctest::Approx(step.head_loss[0] + step.head_loss[1] + step.head_loss[2]).epsilon(1e-6));
    loss += step.loss;
    // Every image has a colour.
    colour_loss += step.head_loss[0] * std::min(8, small::train_images - 8 * index) / small::train_images;
  }
  CHECK(steps.back().seconds_left == 0);
  CHECK(epochs[1].train_loss == doctest::Approx(loss / small::batches).epsilon(1e-12));
  REQUIRE(epochs[1].train_head_loss.size() == 3);
  CHECK(epochs[1].train_head_loss[0] == doctest::Approx(colour_loss).epsilon(1e-6));
  CHECK(epochs[1].train_accuracy == steps[2 * small::batches - 1].accuracy);
  CHECK(epochs[1].validation_loss ==
        doctest::Approx(epochs[1].validation[0].loss + epochs[1].validation[1].loss + epochs[1].validation[2].loss));
  CHECK(epochs[1].validation[0].labelled == 21);
  CHECK(epochs[1].validation[1].labelled == 19);
  CHECK(epochs[1].seconds > 0);
  const int counter = run.trainer.parameters().find("stem.bn.num_batches_tracked");
  CHECK(run.trainer.parameters().get_counter(counter) == 3 * small::batches);
}

TEST_CASE("steps and epochs report the schedule's learning rate") {
  TrainOptions options = small::options();
  options.schedule = {.kind = LearningRateSchedule::Kind::step, .warmup_epochs = 0.5, .step_size = 1, .gamma = 0.5};
  const train::Schedule expected(options, small::batches);
  Run run(options);
  std::int64_t steps = 0;
  CHECK(small::train(
      run.trainer,
      {.step = [&](const StepResult& step) { CHECK(step.learning_rate == expected.learning_rate(++steps)); },
       .epoch = [&](const EpochResult& epoch) { CHECK(epoch.learning_rate == expected.learning_rate(steps)); }}));
  CHECK(expected.learning_rate(1) == doctest::Approx(1e-5).scale(0));
  CHECK(expected.learning_rate(steps) == doctest::Approx(0.25e-3).scale(0));
}

TEST_CASE("one cycle's momentum replaces the update rule's own at every step") {
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::adam}) {
    const auto learnt = [kind](double own, const LearningRateSchedule& schedule) {
      TrainOptions options = small::options();
      options.epochs = 1;
      options.optimizer = kind;
      options.momentum = options.beta1 = own;
      options.schedule = schedule;
      options.schedule.kind = LearningRateSchedule::Kind::one_cycle;
      Run run(options);
      CHECK(run.trainer.run());
      return small::learnt(run.trainer);
    };
    CAPTURE(to_string(kind));
    const small::Learnt own = learnt(0.8, {.cycle_momentum = false});
    CHECK(learnt(0.5, {.base_momentum = 0.8, .max_momentum = 0.8}) == own);
    CHECK(learnt(0.8, {.base_momentum = 0.8, .max_momentum = 0.9}) != own);
  }
}

TEST_CASE("a step over several batches ends with the epoch at the latest, and every image is trained on") {
  TrainOptions options = small::options();
  options.epochs = 2;
  options.accumulate = 4;
  Run run(options);
  std::vector<StepResult> steps;
  std::vector<EpochResult> epochs;
  REQUIRE(small::train(run.trainer, {.step = [&](const StepResult& step) { steps.push_back(step); },
                                     .epoch = [&](const EpochResult& epoch) { epochs.push_back(epoch); }}));
  REQUIRE(steps.size() == 4);
  CHECK(steps[0].batch == 4);
  CHECK(steps[0].images == 32);
  CHECK(steps[1].batch == small::batches);
  CHECK(steps[1].images == small::train_images);
  CHECK(steps[1].seconds_left == 0);
  CHECK(epochs[0].train_loss == doctest::Approx((steps[0].loss + steps[1].loss) / 2).epsilon(1e-12));
}

TEST_CASE("drop_last omits the last, smaller batch; otherwise it may hold a single image or the whole data set") {
  const auto images_seen = [](int images, bool drop_last) {
    const MemoryDataset data = small::images(images);
    TrainOptions options = small::options();
    options.epochs = 1;
    options.drop_last = drop_last;
    Trainer trainer(small::model(), small::info(), data, nullptr, options);
    StepResult last;
    CHECK(small::train(trainer, {.step = [&](const StepResult& step) { last = step; }}));
    CHECK(last.batch == last.batches);
    CHECK(last.seconds_left == 0);
    return last.images;
  };
  CHECK(images_seen(21, true) == 16);
  CHECK(images_seen(21, false) == 21);
  CHECK(images_seen(3, false) == 3);
  CHECK(images_seen(17, false) == 17);
}

TEST_CASE("a last batch of one image is refused before training where a batch norm would see one pixel") {
  const auto make_graph = [] {
    Graph graph;
    Value x = graph.input({3, small::size, small::size});
    x = batch_norm(convolution(x, {.channels = 4, .kernel = small::size, .padding = 0}));
    softmax_cross_entropy(linear(flatten(x), {.features = 2, .name = "logits"}), "side");
    return graph;
  };
  ModelInfo info = small::info();
  info.heads = {small::heads()[1]};
  MemoryDataset data(info.heads);
  for (int image = 0; image < 3; ++image) {
    data.add({small::size, small::size, std::vector<std::uint8_t>(std::size_t{small::size} * small::size * 3, 90)},
             {image % 2});
  }
  TrainOptions options = small::options();
  options.batch = 2;
  CHECK(contains(error_of([&] { Trainer trainer(make_graph(), info, data, nullptr, options); }), "batch_norm"));
  options.drop_last = true;
  CHECK(error_of([&] { Trainer(make_graph(), info, data, nullptr, options).run(); }).empty());
}

TEST_CASE("a run's folder holds the documented files") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  options.epochs = 4;
  options.keep = 2;
  Run run(options);
  std::vector<EpochResult> epochs;
  REQUIRE(small::train(run.trainer, {.epoch = [&](const EpochResult& epoch) { epochs.push_back(epoch); }}));

  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(options.out / "checkpoints")) {
    files.push_back(entry.path().filename().string());
  }
  std::sort(files.begin(), files.end());
  CHECK(files == std::vector<std::string>{"best.safetensors", "epoch-003.safetensors", "epoch-004.safetensors",
                                          "last.optimizer-24.safetensors", "last.safetensors"});

  const formats::SafetensorsReader optimizer(options.out / "checkpoints" / "last.optimizer-24.safetensors");
  for (const char* name : {"exp_avg.stem.conv.weight", "exp_avg_sq.stem.conv.weight"}) {
    CHECK(optimizer.require(name, {16, 3, 3, 3}).name == name);
  }
  CHECK(optimizer.find("exp_avg.stem.bn.running_mean") == nullptr);

  Parameters last(small::model(), 0);
  load_weights(options.out / "checkpoints" / "last.safetensors", last);
  CHECK(last.get(0) == run.trainer.parameters().get(0));
  CHECK(std::filesystem::exists(options.out / "tuning.json"));

  std::istringstream lines(read_file(options.out / "metrics.jsonl"));
  std::string line;
  for (const EpochResult& epoch : epochs) {
    REQUIRE(std::getline(lines, line));
    const nlohmann::json json = nlohmann::json::parse(line);
    CHECK(json.at("epoch") == epoch.epoch);
    CHECK(json.at("train_loss") == epoch.train_loss);
    CHECK(json.at("validation_accuracy").at("side") == epoch.validation[1].accuracy);
    CHECK(json.at("validation_loss_by_head").at("side") == epoch.validation[1].loss);
    CHECK(json.at("train_loss_by_head").at("side") == epoch.train_head_loss[1]);
    CHECK(json.at("best") == epoch.best);
  }
  CHECK(!std::getline(lines, line));
}

TEST_CASE("best holds the weights of the highest mean accuracy") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  options.epochs = 8;
  Run run(options);
  double highest = -1;
  std::vector<HeadResult> best;
  REQUIRE(small::train(run.trainer, {.epoch = [&](const EpochResult& epoch) {
                         double mean = 0;
                         for (const HeadResult& head : epoch.validation) mean += head.accuracy / 3;
                         CHECK(epoch.best == (mean > highest + 1e-12));
                         if (!epoch.best) return;
                         highest = mean;
                         best = epoch.validation;
                       }}));
  Predictor predictor(options.out / "checkpoints" / "best.safetensors", small::model(), {.batch = 8, .threads = 2});
  const std::vector<HeadResult> again = evaluate(predictor, small::validation_set(), {.batch = 8});
  REQUIRE(again.size() == best.size());
  for (std::size_t head = 0; head < best.size(); ++head) {
    CHECK(again[head].confusion == best[head].confusion);
    CHECK(again[head].loss == doctest::Approx(best[head].loss).epsilon(1e-6));
  }
}

TEST_CASE("with ema_decay the average is validated and saved, beside the weights that training continues from") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  options.ema_decay = 0.9;
  options.keep = 1;
  Run run(options);
  EpochResult last;
  REQUIRE(small::train(run.trainer, {.epoch = [&](const EpochResult& epoch) { last = epoch; }}));
  const auto weights_in = [&](const char* name) {
    Parameters parameters(small::model(), 0);
    load_weights(options.out / "checkpoints" / name, parameters);
    return small::learnt(parameters);
  };
  Parameters& average = run.trainer.evaluated_parameters();
  CHECK(weights_in("epoch-003.safetensors") == small::learnt(average));
  CHECK(weights_in("last.average-18.safetensors") == small::learnt(average));
  CHECK(weights_in("last.safetensors").at("stem.conv.weight") == run.trainer.parameters().get(0));
  CHECK(average.get(0) != run.trainer.parameters().get(0));
  Predictor predictor(options.out / "checkpoints" / "epoch-003.safetensors", small::model(),
                      {.batch = 8, .threads = 2});
  const std::vector<HeadResult> again = evaluate(predictor, small::validation_set(), {.batch = 8});
  for (std::size_t head = 0; head < again.size(); ++head) {
    CHECK(again[head].confusion == last.validation[head].confusion);
    CHECK(again[head].loss == doctest::Approx(last.validation[head].loss).epsilon(1e-6));
  }
  options = small::options();
  Run plain(options);
  CHECK(&plain.trainer.evaluated_parameters() == &plain.trainer.parameters());
}

TEST_CASE("without a validation set there is no best") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  Trainer trainer(small::model(), small::info(), small::train_set(), nullptr, options);
  REQUIRE(small::train(trainer, {.epoch = [](const EpochResult& epoch) {
                         CHECK(epoch.validation.empty());
                         CHECK(!epoch.best);
                       }}));
  CHECK(!std::filesystem::exists(options.out / "checkpoints" / "best.safetensors"));
  CHECK(std::filesystem::exists(options.out / "checkpoints" / "last.safetensors"));
}

TEST_CASE("a trainer without a folder writes nothing, and has planned its memory") {
  Run run(small::options());
  CHECK(run.trainer.planned_bytes() > 3 * 4 * small::model().trainable_count());
  CHECK(run.trainer.precision() == Precision::f32);
  CHECK(run.trainer.run());
  CHECK(run.trainer.run());
}

TEST_CASE("observers are called with the caller's floating-point environment") {
  small::Run run(small::options());
  const auto keeps_denormals = [] {
    volatile float smallest = std::numeric_limits<float>::min();
    return smallest / 2 > 0;
  };
  REQUIRE(keeps_denormals());
  int called = 0;
  small::train(run.trainer, {.step = [&](const StepResult&) { called += keeps_denormals() ? 1 : 0; },
                             .epoch = [&](const EpochResult&) { called += keeps_denormals() ? 1 : 0; }});
  CHECK(called == 3 * (small::batches + 1));
}

#if defined(FACET_THREADING_OPENMP)

TEST_CASE("a trainer within a parallel region of its caller uses the threads that are available") {
  std::string notes;
  bool finished = false;
#pragma omp parallel num_threads(2)
  {
#pragma omp master
    {
      small::Run run(small::options());
      finished = small::train(run.trainer, {.note = [&](const std::string& note) { notes += note; }});
    }
  }
  CHECK(finished);
  CHECK(contains(notes, "OpenMP provides 1 of 2 compute threads"));
}

TEST_CASE("a trainer that was made outside of a parallel region refuses to run in one, where it would wait forever") {
  small::Run run(small::options());
  std::string error;
#pragma omp parallel num_threads(2)
  {
#pragma omp master
    error = error_of([&] { run.trainer.run(); });
  }
  CHECK(contains(error, "compiled for 2 compute threads is run where there are 1"));
  CHECK(run.trainer.run());
}

#endif
TEST_CASE("the programs of the last, smaller batches are compiled before training, those of validation too") {
  const TemporaryFolder folder;
  const TrainOptions options = small::options(folder / "run");
  const small::Run run(options);
  const program::TuningRecord tuning_record = program::TuningRecord::load(options.out / "tuning.json", false);
  for (const char* wanted :
       {"batch 8 f32 training", "batch 5 f32 training", "batch 8 f32 inference", "batch 5 f32 inference"}) {
    CAPTURE(wanted);
    CHECK(std::any_of(tuning_record.all().begin(), tuning_record.all().end(),
                      [&](const auto& choice) { return choice.first.find(wanted) != std::string::npos; }));
  }
}

TEST_CASE("a NaN weight that a ReLU hides from the loss stops the step, and the error names it") {
  const TemporaryFolder folder;
  const TrainOptions options = small::options(folder / "run");
  small::Run run(options);
  const std::string error = error_of([&] {
    small::train(run.trainer, {.step = [&](const StepResult& step) {
                   if (step.epoch != 2 || step.batch != 3) return;
                   Parameters& parameters = run.trainer.parameters();
                   const auto index = static_cast<std::size_t>(parameters.find("side.hidden.weight"));
                   *parameters.state().value(static_cast<int>(index)) = std::nanf("");
                 }});
  });
  CAPTURE(error);
  CHECK(contains(error, "step 10 (epoch 2, batch 4 of 6)"));
  CHECK(contains(error, "parameter 'side.hidden.weight' isn't finite after its update"));
  CHECK(contains(error, "of step 6"));
  Parameters last(small::model(), 0);
  load_weights(options.out / "checkpoints" / "last.safetensors", last);
  CHECK(last.state().find_not_finite() == -1);
}
