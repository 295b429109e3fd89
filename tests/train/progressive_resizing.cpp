#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "facet/models.h"
#include "facet/session.h"
#include "testing.h"
#include "train/resizable_run.h"

// Training that begins with smaller images.

using namespace facet;
using small::full_size;
using small::resized_options;
using small::Sized;

namespace {

/// The sides of square images, by epoch.
std::vector<int> sides(int side, std::int64_t epochs, const ProgressiveResizing& resizing) {
  TrainOptions options;
  options.epochs = epochs;
  options.progressive_resizing = resizing;
  std::vector<int> all;
  for (std::int64_t epoch = 1; epoch <= epochs; ++epoch) {
    const ImageSize size = scheduled_size(options, side, epoch);
    CHECK(size.height == size.width);
    all.push_back(size.height);
  }
  return all;
}

/// A run on the small sets.
struct Run {
  explicit Run(const TrainOptions& options)
      : trainer(small::resizable_model(), small::resizable_info(), train, &validation, options) {}
  Sized train{small::train_set()}, validation{small::validation_set()};
  Trainer trainer;
};

struct Outcome {
  small::Learnt learnt;
  std::vector<EpochResult> epochs;
};

/// Trains to the end, or stops after `stop_after` steps where that is above 0.
Outcome trained(const TrainOptions& options, int stop_after = 0) {
  Run run(options);
  Outcome outcome;
  int steps = 0;
  const bool ended =
      small::train(run.trainer, {.step = [&](const StepResult&) { ++steps; },
                                 .epoch = [&](const EpochResult& result) { outcome.epochs.push_back(result); },
                                 .stop = [&] { return stop_after > 0 && steps >= stop_after; }});
  CHECK(ended == (stop_after == 0));
  outcome.learnt = small::learnt(run.trainer);
  return outcome;
}

}  // namespace

TEST_CASE("the size of training images is a function of the epoch: small, growing, then the model's") {
  CHECK(sides(224, 10, {.initial_scale = 0.5}) == std::vector<int>{128, 128, 128, 128, 128, 128, 160, 192, 224, 224});
  CHECK(sides(224, 10, {.initial_scale = 0.5, .delay_fraction = 0, .finetune_fraction = 0.2}) ==
        std::vector<int>{128, 128, 128, 160, 160, 192, 192, 224, 224, 224});
  CHECK(sides(128, 10, {.initial_scale = 0.5, .delay_fraction = 0.4, .finetune_fraction = 0.2}) ==
        std::vector<int>{64, 64, 64, 64, 64, 96, 96, 128, 128, 128});
  CHECK(sides(128, 15, {.initial_scale = 0.5, .delay_fraction = 0.8, .finetune_fraction = 0.2}) ==
        std::vector<int>{64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 128, 128, 128});
  // The last epoch has the model's size, and the first one the initial scale.
  CHECK(sides(128, 1, {.initial_scale = 0.5}) == std::vector<int>{128});
  CHECK(sides(128, 2, {.initial_scale = 0.5}) == std::vector<int>{64, 128});
  CHECK(sides(128, 3, {.initial_scale = 0.5, .delay_fraction = 0, .finetune_fraction = 0}) ==
        std::vector<int>{64, 96, 128});
  CHECK(sides(128, 3, {.initial_scale = 0.5, .delay_fraction = 1, .finetune_fraction = 0}) ==
        std::vector<int>{64, 64, 128});
  CHECK(sides(128, 3, {.initial_scale = 0.5, .delay_fraction = 0, .finetune_fraction = 1}) ==
        std::vector<int>{128, 128, 128});
  CHECK(sides(128, 3, {}) == std::vector<int>{128, 128, 128});
  // Multiples of 32 only, but for the model's size itself.
  CHECK(sides(100, 4, {.initial_scale = 0.3}) == std::vector<int>{32, 32, 64, 100});
  CHECK(sides(48, 2, {.initial_scale = 0.01}) == std::vector<int>{32, 48});
  CHECK(sides(24, 2, {.initial_scale = 0.5}) == std::vector<int>{24, 24});

  for (const double scale : {0.25, 0.5, 0.7}) {
    for (const std::int64_t epochs : {1, 2, 3, 7, 15, 90}) {
      const std::vector<int> all = sides(224, epochs, {.initial_scale = scale});
      CHECK(std::ranges::is_sorted(all));
      CHECK(std::ranges::count(all, 224) >= static_cast<std::ptrdiff_t>(epochs / 5));
      CHECK(all.back() == 224);
    }
  }
  TrainOptions options;
  options.progressive_resizing.initial_scale = 0.5;
  CHECK(scheduled_size(options, {224, 160}, 1) == ImageSize(128, 96));
  CHECK(scheduled_size(options, {224, 160}, 100) == ImageSize(224, 160));
  CHECK(scheduled_size(options, 224, 1000) == ImageSize(224));
  CHECK(contains(error_of([&] { scheduled_size(options, 224, 0); }), "epoch 0"));
}

TEST_CASE("each epoch's batches have its size, validation has the model's, and so has the model file") {
  const TemporaryFolder folder;
  Run run(resized_options(folder / "run"));
  std::vector<EpochResult> epochs;
  std::vector<std::string> notes;
  std::vector<int> loaded;
  const std::int64_t planned = run.trainer.planned_bytes();
  CHECK(small::train(run.trainer, {.epoch =
                                       [&](const EpochResult& result) {
                                         epochs.push_back(result);
                                         const std::set<int> sizes = run.train.take_sizes();
                                         REQUIRE(sizes.size() == 1);
                                         loaded.push_back(*sizes.begin());
                                         CHECK(run.validation.take_sizes() == std::set<int>{full_size});
                                       },
                                   .note = [&](const std::string& note) { notes.push_back(note); }}));
  CHECK(loaded == std::vector<int>{32, 32, 64, 64, 96});
  REQUIRE(epochs.size() == 5);
  for (std::size_t i = 0; i < epochs.size(); ++i) CHECK(epochs[i].size == ImageSize(loaded[i]));
  CHECK(run.trainer.planned_bytes() == planned);
  CHECK(std::ranges::count(
            notes, "progressive resizing: epochs 1 to 2 at 32x32, epochs 3 to 4 at 64x64, epoch 5 at 96x96") == 1);
  CHECK(read_model_info(folder / "run" / "checkpoints" / "best.safetensors").size == ImageSize(full_size));
  CHECK(contains(read_file(folder / "run" / "metrics.csv"), ",size\n"));
  CHECK(contains(read_file(folder / "run" / "metrics.csv"), ",64x64\n"));
  CHECK(contains(read_file(folder / "run" / "metrics.jsonl"), R"("size":"96x96"})"));
  // All epochs, validation too, count as those of one run.
  const int counter = run.trainer.parameters().find("bn.num_batches_tracked");
  CHECK(run.trainer.parameters().get_counter(counter) == 5 * small::batches);
}

TEST_CASE("the largest size decides the planned memory") {
  TrainOptions plain = resized_options();
  plain.progressive_resizing = {};
  CHECK(Run(resized_options()).trainer.planned_bytes() >= Run(plain).trainer.planned_bytes());
}

TEST_CASE("a run without progressive resizing has neither the column nor the key, and the same bits as before") {
  const TemporaryFolder folder;
  TrainOptions options = resized_options(folder / "plain");
  options.progressive_resizing = {};
  const Outcome plain = trained(options);
  CHECK(!plain.epochs[0].size);
  CHECK(!contains(read_file(folder / "plain" / "metrics.csv"), "size"));
  CHECK(!contains(read_file(folder / "plain" / "metrics.jsonl"), "size"));
  // A schedule in which all epochs have the model's size changes nothing.
  TrainOptions full = resized_options();
  full.progressive_resizing = {.initial_scale = 0.5, .delay_fraction = 0, .finetune_fraction = 1};
  CHECK(trained(full).learnt == plain.learnt);
  CHECK(trained(resized_options()).learnt != plain.learnt);
}

TEST_CASE("a run that is stopped in the midst of an epoch or where the size changes resumes to the same bits") {
  const auto check = [](const TrainOptions& base, std::initializer_list<int> stops) {
    const TemporaryFolder folder;
    TrainOptions straight = base;
    straight.out = folder / "straight";
    const Outcome whole = trained(straight);
    for (const int stop_after : stops) {
      CAPTURE(stop_after);
      TrainOptions stopped = base;
      stopped.out = folder / std::to_string(stop_after);
      trained(stopped, stop_after);
      stopped.resume = true;
      const Outcome rest = trained(stopped);
      CHECK(rest.learnt == whole.learnt);
      REQUIRE(!rest.epochs.empty());
      CHECK(rest.epochs.back().validation_loss == whole.epochs.back().validation_loss);
      const std::string best = "checkpoints/best.safetensors";
      CHECK(read_file(stopped.out / best) == read_file(straight.out / best));
    }
  };
  constexpr int epoch = small::batches;
  SUBCASE("plain") { check(resized_options(), {1, 2 * epoch - 1, 2 * epoch, 2 * epoch + 1, 3 * epoch, 4 * epoch + 2}); }
  SUBCASE("with augmentation, an average, several batches a step and a sampler") {
    TrainOptions options = resized_options();
    options.augmentation.preset = AugmentPreset::strong;
    options.ema_decay = 0.8;
    options.accumulate = 2;
    std::vector<double> weights(small::train_images, 1.0);
    weights[3] = 10;
    options.sampler = std::make_shared<const WeightedRandomSampler>(weights);
    check(options, {4, 6, 7});  // an epoch has three steps
  }
}

TEST_CASE("primitives are tuned for each size before the first step, and a resumed run uses them") {
  const TemporaryFolder folder;
  TrainOptions options = resized_options(folder / "straight");
  options.tune = true;
  int timed = 0;
  options.on_tuning = [&](int) { ++timed; };
  Run run(options);
  CHECK(timed > 0);
  timed = 0;
  // What no epoch but the last needs is there before the first.
  for (const char* key : {"3x32x32", "3x64x64", "3x96x96"}) {
    CHECK_MESSAGE(contains(read_file(folder / "straight" / "tuning.json"), "convolution " + std::string(key)), key);
  }
  CHECK(run.trainer.run());
  CHECK(timed == 0);
  TrainOptions stopped = options;
  stopped.out = folder / "stopped";
  stopped.tuning_record = folder / "straight" / "tuning.json";
  trained(stopped, 3 * small::batches + 2);
  stopped.tuning_record.clear();
  stopped.resume = true;
  CHECK(trained(stopped).learnt == small::learnt(run.trainer));
  CHECK(timed == 0);
}

TEST_CASE("a trainer that is stopped goes on at the epoch's size, also after steps of its session") {
  const Outcome whole = trained(resized_options());
  Run run(resized_options());
  int steps = 0;
  CHECK(!small::train(run.trainer, {.stop = [&] { return ++steps == 3; }}));
  run.train.take_sizes();
  CHECK(!run.trainer.session().evaluate(run.validation).empty());
  CHECK(run.validation.take_sizes() == std::set<int>{full_size});
  CHECK(run.trainer.run());
  CHECK(small::learnt(run.trainer) == whole.learnt);

  Run stepped(resized_options());
  steps = 0;
  CHECK(!small::train(stepped.trainer, {.stop = [&] { return ++steps == 3; }}));
  Loader loader(small::train_set(), {.batch = 8, .size = full_size, .threads = 1});
  loader.start_epoch(1);
  const BatchResult result = stepped.trainer.session().step(*loader.next());
  CHECK(result.loss > 0);
  CHECK(stepped.trainer.run());
}

TEST_CASE("a resumed run can't change the sizes, nor the number of epochs on which they depend") {
  const TemporaryFolder folder;
  TrainOptions options = resized_options(folder / "run");
  trained(options, 2);
  options.resume = true;
  const auto refusal = [&](const auto& change) {
    TrainOptions changed = options;
    change(changed);
    return error_of([&] { Run run(changed); });
  };
  CHECK(contains(refusal([](TrainOptions& o) { o.progressive_resizing = {}; }),
                 "the run was started with progressive_resizing \"0.34,0.4,0.2\", requested is \"none\""));
  CHECK(contains(refusal([](TrainOptions& o) { o.progressive_resizing.initial_scale = 0.5; }),
                 "requested is \"0.5,0.4,0.2\""));
  CHECK(contains(refusal([](TrainOptions& o) { o.epochs = 6; }),
                 "the run was started with progressive_resizing's epochs 5, requested is 6"));
  CHECK(refusal([](TrainOptions&) {}).empty());
}

TEST_CASE("a model whose weights depend on the size of the image is refused before anything is done") {
  const TemporaryFolder folder;
  TrainOptions options = resized_options(folder / "run");
  ModelInfo info = small::resizable_info();
  const auto refusal = [&](const Graph& graph) {
    return error_of([&] { Trainer(graph, info, small::train_set(), &small::validation_set(), options); });
  };
  CHECK(contains(refusal(small::model(small::heads(), full_size)), "'colour.hidden.weight' depends on the size"));
  info.model = "reference";
  CHECK(refusal(reference({.heads = small::heads(), .size = full_size})) ==
        "progressive_resizing needs images of 32x32, at which the model reference can't be trained: the shape of "
        "'heads.colour.hidden.weight' depends on the size of the input; the weights of resnet18, resnet34, resnet50, "
        "densenet121, densenet161, alexnet, mobilenet_v2 fit images of any size");
  info.model = "alexnet";  // needs at least 63 pixels
  const std::string too_small = refusal(alexnet({.heads = small::heads(), .size = full_size}));
  CHECK(contains(too_small, "(max_pool): "));
  CHECK(too_small.ends_with("; take a larger initial scale"));
  CHECK(!std::filesystem::exists(folder / "run"));
}

TEST_CASE("numbers of progressive resizing out of range are refused") {
  const auto refusal = [](const ProgressiveResizing& resizing) {
    TrainOptions options;
    options.progressive_resizing = resizing;
    return error_of([&] { check_options(options); });
  };
  CHECK(refusal({.initial_scale = 0}) == "progressive_resizing: its initial scale is 0; above 0 up to 1 is allowed");
  CHECK(contains(refusal({.initial_scale = 1.5}), "initial scale is 1.5"));
  CHECK(contains(refusal({.initial_scale = std::numeric_limits<double>::quiet_NaN()}), "initial scale is nan"));
  CHECK(contains(refusal({.initial_scale = 0.5, .delay_fraction = -0.1}), "delay fraction is -0.1"));
  CHECK(contains(refusal({.initial_scale = 0.5, .finetune_fraction = 2}), "fine-tuning fraction is 2"));
  CHECK(contains(refusal({.initial_scale = 0.5, .delay_fraction = 0.6, .finetune_fraction = 0.5}), "a sum of up to 1"));
}
