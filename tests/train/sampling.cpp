#include <doctest/doctest.h>

#include <cmath>
#include <memory>

#include "facet/ops.h"
#include "facet/sampler.h"
#include "facet/training.h"
#include "testing.h"
#include "train/small_run.h"

// Trainers with a sampler, and with a head of ordered classes.

using namespace facet;

namespace {

TrainOptions sampled(const std::filesystem::path& out = {}, std::string_view head = "colour") {
  TrainOptions options = small::options(out);
  options.sampler = std::make_shared<const WeightedRandomSampler>(class_balanced_weights(small::train_set(), head));
  return options;
}

/// Epochs of a number of images other than the data set's.
class First final : public Sampler {
 public:
  explicit First(std::int64_t size) : size_(size) {}
  std::int64_t epoch_size(std::int64_t) const override { return size_; }
  std::vector<std::int64_t> order(std::int64_t count, std::uint64_t, std::int64_t) const override {
    std::vector<std::int64_t> order;
    for (std::int64_t i = 0; i < size_; ++i) order.push_back(i % count);
    return order;
  }

 private:
  std::int64_t size_;
};

std::vector<Head> ordinal_heads() {
  std::vector<Head> heads = small::heads();
  heads[0].ordinal = true;
  return heads;
}

Graph ordinal_model() {
  Graph graph;
  Value x = graph.input({3, small::size, small::size});
  x = flatten(max_pool(relu(batch_norm(convolution(x, {.channels = 16, .stride = 2}))), {}));
  for (const Head& head : ordinal_heads()) {
    const Scope scope(graph, head.name);
    const std::int64_t classes = std::ssize(head.classes);
    const Value hidden = relu(linear(x, {.features = 32, .name = "hidden"}));
    if (head.ordinal) {
      coral_loss(coral(hidden, {.classes = classes, .name = "logits"}), head.name);
    } else {
      softmax_cross_entropy(linear(hidden, {.features = classes, .name = "logits"}), head.name);
    }
  }
  return graph;
}

ModelInfo ordinal_info() {
  ModelInfo info = small::info();
  info.heads = ordinal_heads();
  return info;
}

}  // namespace

TEST_CASE("a run with a sampler is resumed within an epoch to the same bits, and with no other sampler") {
  const TemporaryFolder folder;
  small::Run whole(sampled(folder / "whole"));
  whole.trainer.run();
  const small::Learnt expected = small::learnt(whole.trainer);
  TrainOptions stopped = sampled(folder / "stopped");
  {
    small::Run run(stopped);
    int steps = 0;
    CHECK(!small::train(run.trainer, {.stop = [&] { return ++steps == small::batches + 2; }}));
  }
  stopped.resume = true;
  for (const bool shuffled : {true, false}) {
    TrainOptions other = shuffled ? small::options(folder / "stopped") : sampled(folder / "stopped", "side");
    other.resume = true;
    CHECK(contains(error_of([&] { small::Run run(other); }), "the run was started with another sampler"));
  }
  small::Run resumed(stopped);
  resumed.trainer.run();
  CHECK(small::learnt(resumed.trainer) == expected);
  small::Run plain(small::options());
  plain.trainer.run();
  CHECK(small::learnt(plain.trainer) != expected);
}

TEST_CASE("a run of changed and mixed images is resumed within an epoch to the same bits, and with no other change") {
  const TemporaryFolder folder;
  TrainOptions options = sampled(folder / "whole");
  options.augmentation.preset = AugmentPreset::strong;
  options.label_smoothing = 0.1;
  Trainer whole(ordinal_model(), ordinal_info(), small::train_set(), nullptr, options);
  whole.run();
  options.out = folder / "stopped";
  {
    Trainer stopped(ordinal_model(), ordinal_info(), small::train_set(), nullptr, options);
    int steps = 0;
    CHECK(!small::train(stopped, {.stop = [&] { return ++steps == small::batches + 2; }}));
  }
  options.resume = true;
  TrainOptions other = options;
  other.augmentation.cutmix = 0.5;
  CHECK(contains(error_of([&] { Trainer(ordinal_model(), ordinal_info(), small::train_set(), nullptr, other); }),
                 R"(the run was started with cutmix "1", requested is "0.5")"));
  // The preset's values by name are the preset.
  options.augmentation = {.random_resized_crop = 0.25,
                          .rand_augment = RandAugmentOptions{.operations = 2, .magnitude = 9},
                          .random_erasing = 0.1,
                          .mixup = 0.2,
                          .cutmix = 1.0};
  Trainer resumed(ordinal_model(), ordinal_info(), small::train_set(), nullptr, options);
  resumed.run();
  CHECK(small::learnt(resumed) == small::learnt(whole));
  options.resume = false;
  options.out = "";
  options.augmentation.mixup = options.augmentation.cutmix = 0.0;
  Trainer unmixed(ordinal_model(), ordinal_info(), small::train_set(), nullptr, options);
  unmixed.run();
  CHECK(small::learnt(unmixed) != small::learnt(whole));
}

TEST_CASE("mixing needs classes or values, and two images in a batch") {
  TrainOptions options = small::options();
  options.augmentation.mixup = 0.2;
  Graph graph;
  const Value x = flatten(graph.input({3, small::size, small::size}));
  for (const Head& head : small::heads()) {
    const Value outputs = linear(x, {.features = std::ssize(head.classes), .name = head.name});
    head.name == "side" ? binary_cross_entropy(outputs, head.name) : softmax_cross_entropy(outputs, head.name);
  }
  CHECK(error_of([&] { Trainer(graph, small::info(), small::train_set(), nullptr, options); }) ==
        "mixup and cutmix mix classes or values; head 'side' predicts no class, and the training set has no values for "
        "it");
  options.batch = 1;
  CHECK(error_of([&] { small::Run run(options); }) ==
        "mixup and cutmix mix the images of a batch; a batch has 1 image");
}

TEST_CASE("an epoch has as many images as its sampler says") {
  for (const std::int64_t size : {3, 45, 100}) {
    CAPTURE(size);
    TrainOptions options = small::options();
    options.epochs = 1;
    options.sampler = std::make_shared<const First>(size);
    small::Run run(options);
    StepResult last;
    small::train(run.trainer, {.step = [&](const StepResult& result) { last = result; }});
    CHECK(last.images == size);
    CHECK(last.batches == (size + 7) / 8);
  }
  TrainOptions options = small::options();
  options.sampler = std::make_shared<const First>(0);
  CHECK(error_of([&] { small::Run run(options); }) == "the sampler's epochs have 0 images");
  options.sampler = std::make_shared<const First>(7);
  options.drop_last = true;
  CHECK(error_of([&] { small::Run run(options); }) == "drop_last leaves no batch: an epoch has 7 images, a batch 8");
}

TEST_CASE("a trainer learns ordered classes, tells how far it is off, and resumes to the same bits") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "whole");
  options.epochs = 12;
  options.learning_rate = 5e-3;
  options.label_smoothing = 0.05;
  options.class_weights["colour"] = {.values = {1, 2, 1}};
  EpochResult first, last;
  Trainer whole(ordinal_model(), ordinal_info(), small::train_set(), &small::train_set(), options);
  small::train(whole, {.epoch = [&](const EpochResult& result) { (result.epoch == 1 ? first : last) = result; }});
  CHECK(last.validation[0].accuracy > 0.9);
  CHECK(last.validation[0].loss < first.validation[0].loss);
  CHECK(last.validation[0].within_one >= last.validation[0].accuracy);
  CHECK(last.validation[0].mean_absolute_error < 0.2);
  CHECK(std::isnan(last.validation[1].within_one));
  CHECK(contains(read_file(folder / "whole" / "metrics.csv"),
                 ",communication_waited,validation_within_one_colour,validation_mean_absolute_error_colour\n"));
  CHECK(contains(read_file(folder / "whole" / "metrics.jsonl"), R"("validation_within_one":{"colour":)"));
  CHECK(contains(read_file(folder / "whole" / "metrics.jsonl"), R"("validation_mean_absolute_error":{"colour":)"));

  options.out = folder / "stopped";
  {
    Trainer stopped(ordinal_model(), ordinal_info(), small::train_set(), &small::train_set(), options);
    int steps = 0;
    small::train(stopped, {.stop = [&] { return ++steps == 9; }});
  }
  options.resume = true;
  CHECK(contains(
      error_of([&] { Trainer(small::model(), small::info(), small::train_set(), &small::train_set(), options); }),
      "the run was started with ordinal colour, requested is no heads"));
  Trainer resumed(ordinal_model(), ordinal_info(), small::train_set(), &small::train_set(), options);
  resumed.run();
  CHECK(small::learnt(resumed) == small::learnt(whole));
}
