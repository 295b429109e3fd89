#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <string>

#include "testing.h"
#include "train/small_run.h"

using namespace facet;

namespace {

std::string error_with(const std::function<void(TrainOptions&)>& change, TrainOptions options = small::options()) {
  change(options);
  return error_of([&] { small::Run run(options); });
}

}  // namespace

TEST_CASE("invalid options are refused by name") {
  for (const int threads : {-1, 4097, 100'000}) {
    CHECK(error_with([&](TrainOptions& options) { options.threads = threads; }) ==
          "threads is " + std::to_string(threads) + "; 0 to 4096 is allowed");
    CHECK(error_with([&](TrainOptions& options) { options.loader_threads = threads; }) ==
          "loader_threads is " + std::to_string(threads) + "; 0 to 4096 is allowed");
  }
  CHECK(error_with([](TrainOptions& options) { options.optimizer = static_cast<OptimizerKind>(9); }) ==
        "optimizer 9 found; allowed: adam, adamw, sgd, lars, lamb");
  CHECK(contains(
      error_with([](TrainOptions& options) { options.schedule.kind = static_cast<LearningRateSchedule::Kind>(9); }),
      "schedule 9 found"));
  CHECK(contains(error_with([](TrainOptions& options) { options.precision = static_cast<PrecisionChoice>(77); }),
                 "precision 77 found"));
  CHECK(error_with([](TrainOptions& options) { options.batch = 0; }) == "batch is 0; 1 to 65536 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.epochs = 0; }) == "epochs is 0; 1 to 1000000 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.learning_rate = -1; }) ==
        "learning_rate is -1; a number above 0 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.beta2 = 1; }) == "beta2 is 1; 0 up to below 1 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.momentum = 1; }) == "momentum is 1; 0 up to below 1 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.weight_decay = -1; }) ==
        "weight_decay is -1; 0 or more is allowed");
  CHECK(contains(error_with([](TrainOptions& options) { options.nesterov = true; }), "nesterov is on without"));
  CHECK(error_with([](TrainOptions& options) { options.schedule.warmup_epochs = 3; }) ==
        "warmup_epochs is 3; 0 up to below the run's 3 epochs is allowed");
  CHECK(contains(error_with([](TrainOptions& options) {
                   options.schedule = {.kind = LearningRateSchedule::Kind::one_cycle, .warmup_epochs = 1};
                 }),
                 "warmup_epochs is 1; 0 is allowed with the schedule one-cycle"));
  CHECK(error_with([](TrainOptions& options) { options.schedule.warmup_factor = 0; }) ==
        "warmup_factor is 0; above 0 up to 1 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.schedule.step_size = 0; }) ==
        "step_size is 0; 1 to 1000000 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.schedule.gamma = 0; }) ==
        "gamma is 0; a number above 0 is allowed");
  CHECK(contains(error_with([](TrainOptions& options) { options.schedule.eta_min = 1; }),
                 "eta_min is 1; 0 up to the learning rate, 0.001,"));
  CHECK(error_with([](TrainOptions& options) { options.schedule.pct_start = 1.5; }) ==
        "pct_start is 1.5; 0 up to 1 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.schedule.max_momentum = 1; }) ==
        "max_momentum is 1; 0 up to below 1 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.schedule.base_momentum = 0.96; }) ==
        "base_momentum is 0.96; 0 up to max_momentum, 0.95, is allowed");
  CHECK(error_with([](TrainOptions& options) { options.label_smoothing = 1; }) ==
        "label_smoothing is 1; 0 up to below 1 is allowed");
  CHECK(error_with([](TrainOptions& options) {
          options.split_head.heads = {{{"age", {"old", "young"}}, 0}};
        }) == "split_head has the head age and no layer; the layer that is split is needed");
  CHECK(error_with([](TrainOptions& options) { options.split_head.layer = "fc"; }) ==
        "split_head names the layer fc without pretrained, the weights that have it");
  CHECK(error_with([](TrainOptions& options) { options.head_weights["side"] = 0; }) ==
        "head_weights of side is 0; a number above 0 is allowed");
  CHECK(contains(error_with([](TrainOptions& options) { options.head_weights["mood"] = 1; }),
                 "head_weights has a head mood; the heads are colour, side, "));
  CHECK(error_with([](TrainOptions& options) {
          options.class_weights["side"].values = {1, -1};
        }) == "class_weights of side is -1; 0 or more is allowed");
  CHECK(contains(error_with([](TrainOptions& options) {
                   options.class_weights["side"].values = {0, 0};
                 }),
                 "class_weights of side: either balanced or a number a class, not all of them 0,"));
  CHECK(contains(error_with([](TrainOptions& options) { options.class_weights["side"]; }), "either balanced or"));
  CHECK(contains(error_with([](TrainOptions& options) {
                   options.class_weights["side"].values = {1, 1, 1};
                 }),
                 "class_weights of side: 3 numbers found; its 2 classes need one each: "));
  CHECK(contains(error_with([](TrainOptions& options) { options.class_weights["mood"].balanced = true; }),
                 "class_weights has a head mood"));
  CHECK(error_with([](TrainOptions& options) { options.accumulate = 0; }) ==
        "accumulate is 0; 1 to 1000000 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.clip_norm = -1; }) == "clip_norm is -1; 0 or more is allowed");
  CHECK(error_with([](TrainOptions& options) { options.ema_decay = 1; }) ==
        "ema_decay is 1; 0 up to below 1 is allowed");
  CHECK(error_with([](TrainOptions& options) {
          options.freeze = {"stem.*", "blok.*"};
        }) ==
        "freeze: no weight has a name that matches 'blok.*'; the names near it are 'stem.*', 'block.*', 'colour.*', "
        "'side.*', 'stripes.*'");
  CHECK(error_with([](TrainOptions& options) { options.freeze = {"*"}; }) == "freeze leaves no weight to be trained");
  CHECK(error_with([](TrainOptions& options) { options.patience = -1; }) == "patience is -1; 0 to 1000000 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.keep = -1; }) == "keep is -1; 0 to 1000000 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.log_every = -1; }) ==
        "log_every is -1; 0 to 1000000 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.profile_steps = -1; }) ==
        "profile_steps is -1; 0 to 1000000 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.checkpoint_minutes = INFINITY; }) ==
        "checkpoint_minutes is inf; 0 or more is allowed");
  CHECK(error_with([](TrainOptions& options) { options.eps = NAN; }) == "eps is nan; a number above 0 is allowed");
  CHECK(contains(error_with([](TrainOptions& options) {
                   options.batch = 64;
                   options.drop_last = true;
                 }),
                 "drop_last leaves no batch: the training set holds 45 images, a batch 64"));
}

TEST_CASE("data that don't fit the model are refused") {
  const MemoryDataset other({{"age", {"young", "old"}}});
  const MemoryDataset none(small::heads());
  const auto error = [](const Dataset& train, const Dataset* validation) {
    return error_of([&] { Trainer trainer(small::model(), small::info(), train, validation, small::options()); });
  };
  CHECK(contains(error(other, nullptr), "the training set has the heads age"));
  CHECK(contains(error(small::train_set(), &other), "the validation set has the heads age"));
  CHECK(error(none, nullptr) == "the training set holds no image");
  TrainOptions patient = small::options();
  patient.patience = 2;
  CHECK(contains(error_of([&] { Trainer(small::model(), small::info(), small::train_set(), nullptr, patient); }),
                 "patience is 2 and there is no validation set"));
  CHECK(error(small::train_set(), &none) == "the validation set holds no image");
}

TEST_CASE("a model that no checkpoint can describe is refused at the start, with a folder and without") {
  std::vector<Head> twice = small::heads();
  twice[0].classes[2] = "red";
  std::vector<Head> latin1 = small::heads();
  latin1[1].classes[0] = "gauch\xE9";
  ModelInfo nameless = small::info();
  nameless.model.clear();
  const TemporaryFolder folder;
  /// A user's own data set, whose heads are not checked.
  class OneImage final : public Dataset {
   public:
    explicit OneImage(std::vector<Head> heads) : heads_(std::move(heads)) {}
    std::int64_t size() const override { return 1; }
    const std::vector<Head>& heads() const override { return heads_; }
    std::span<const std::int32_t> labels(std::int64_t) const override { return labels_; }
    void load(const LoadRequest&, std::span<std::uint8_t>) const override {}
    std::string name(std::int64_t) const override { return "the image"; }

   private:
    std::vector<Head> heads_;
    std::vector<std::int32_t> labels_{0, 0, 0};
  };
  const auto error = [](const std::vector<Head>& heads, ModelInfo info, const TrainOptions& options) {
    info.heads = heads;
    const OneImage data(heads);
    return error_of([&] { Trainer trainer(small::model(heads), info, data, nullptr, options); });
  };
  CHECK(error(twice, small::info(), small::options()) == "the model: its head \"colour\" has the class \"red\" twice");
  CHECK(contains(error(twice, small::info(), small::options(folder / "run")), "last.safetensors: its head \"colour\""));
  CHECK(error(latin1, small::info(), small::options()) ==
        "the model: can't be written: the name of a head or class is not UTF-8");
  CHECK(error(small::heads(), nameless, small::options()) == "the model: its model has no name");
  CHECK(!std::filesystem::exists(folder / "run"));
}

TEST_CASE("a model that memory can't hold is refused before it is allocated") {
  Graph graph;
  Value x = flatten(graph.input({3, small::size, small::size}));
  x = linear(x, {.features = 1'000'000'000});
  softmax_cross_entropy(linear(x, {.features = 2, .name = "logits"}), "side");
  ModelInfo info = small::info();
  info.heads = {small::heads()[1]};
  MemoryDataset data(info.heads);
  data.add({small::size, small::size, std::vector<std::uint8_t>(std::size_t{small::size} * small::size * 3)}, {0});
  const std::string error = error_of([&] { Trainer trainer(std::move(graph), info, data, nullptr, small::options()); });
  CAPTURE(error);
  CHECK(contains(error, "GB of memory"));
  CHECK(contains(error, "available"));
}

TEST_CASE("a folder that holds a run is left alone unless it is resumed") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  options.epochs = 1;
  small::Run(options).trainer.run();
  const std::string before = read_file(options.out / "checkpoints" / "last.safetensors");
  const std::string error = error_with([](TrainOptions&) {}, options);
  CHECK(contains(error, options.out.string() + " holds a run already"));
  CHECK(read_file(options.out / "checkpoints" / "last.safetensors") == before);
}

TEST_CASE("a folder that can't be created is refused by name") {
  const TemporaryFolder folder;
  write_file(folder / "file", "");
  CHECK(contains(error_with([](TrainOptions&) {}, small::options(folder / "file" / "run")), "file/run"));
  CHECK(
      contains(error_with([](TrainOptions&) {}, small::options(folder / std::string(300, 'x'))), "File name too long"));
}

TEST_CASE("a folder that can't be written is refused before anything is compiled") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "run" / "tuning.json");
  CHECK(contains(error_with([](TrainOptions&) {}, small::options(folder / "run")), "tuning.json"));
}

TEST_CASE("a run can't be resumed with other options: the option and both values are named") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  options.epochs = 1;
  small::Run(options).trainer.run();
  options.resume = true;
  const auto check = [&](const std::function<void(TrainOptions&)>& change, const std::string& message) {
    const std::string error = error_with(change, options);
    CAPTURE(error);
    CHECK(contains(error, (options.out / "checkpoints" / "last.safetensors").string()));
    CHECK(contains(error, message));
  };
  check([](TrainOptions& changed) { changed.batch = 4; }, "batch 8, requested is 4");
  check([](TrainOptions& changed) { changed.seed = 1; }, "seed 5, requested is 1");
  check([](TrainOptions& changed) { changed.learning_rate = 2e-4; }, "learning_rate 0.001, requested is 0.0002");
  check([](TrainOptions& changed) { changed.optimizer = OptimizerKind::sgd; },
        "optimizer \"adam\", requested is \"sgd\"");
  check([](TrainOptions& changed) { changed.weight_decay = 0.1; }, "weight_decay 0.0, requested is 0.1");
  check([](TrainOptions& changed) { changed.schedule.warmup_epochs = 0.5; }, "warmup_epochs 0.0, requested is 0.5");
  check([](TrainOptions& changed) { changed.schedule.kind = LearningRateSchedule::Kind::cosine; },
        "schedule \"constant\", requested is \"cosine\"");
  check([](TrainOptions& changed) { changed.class_weights["side"].balanced = true; },
        "class_weights \"\", requested is \"side=balanced\"");
  check([](TrainOptions& changed) { changed.head_weights["side"] = 2; }, "requested is \"side=2\"");
  check([](TrainOptions& changed) { changed.flip = false; }, "flip true, requested is false");
  check([](TrainOptions& changed) { changed.drop_last = true; }, "drop_last false, requested is true");
  if (has_native_bf16()) {
    check([](TrainOptions& changed) { changed.precision = PrecisionChoice::bf16; },
          "precision \"f32\", requested is \"bf16\"");
  }

  const auto error_as = [&](const std::function<void(ModelInfo&)>& change, const Dataset& train) {
    ModelInfo info = small::info();
    change(info);
    return error_of([&] { Trainer trainer(small::model(), info, train, nullptr, options); });
  };
  CHECK(contains(error_as([](ModelInfo& info) { info.model = "other"; }, small::train_set()),
                 "model small, requested is other"));
  CHECK(contains(error_as([](ModelInfo& info) { info.shape = "wide"; }, small::train_set()),
                 "shape default, requested is wide; a run to be resumed can't change it"));
  CHECK(contains(error_as([](ModelInfo& info) { info.resize = ResizeMode::crop; }, small::train_set()),
                 "resize squash, requested is crop; a run to be resumed can't change it"));
  CHECK(contains(error_as([](ModelInfo& info) { info.normalization.mean[0] = 0.5F; }, small::train_set()),
                 "mean 0.485,0.456,0.406, requested is 0.5,0.456,0.406"));
  CHECK(contains(error_as([](ModelInfo&) {}, small::validation_set()), "training images 45, requested is 21"));
}

TEST_CASE("a run can't be resumed on data that have changed: a name, a label, their order") {
  /// Other names and labels for the small training set.
  class Changed final : public Dataset {
   public:
    std::int64_t size() const override { return small::train_set().size(); }
    const std::vector<Head>& heads() const override { return small::train_set().heads(); }
    std::span<const std::int32_t> labels(std::int64_t index) const override {
      if (index == label_of) return other_labels;
      return small::train_set().labels(swapped(index));
    }
    void load(const LoadRequest& request, std::span<std::uint8_t> pixels) const override {
      LoadRequest other = request;
      other.index = swapped(request.index);
      small::train_set().load(other, pixels);
    }
    std::string name(std::int64_t index) const override {
      return index == name_of ? "another" : small::train_set().name(swapped(index));
    }
    std::int64_t swapped(std::int64_t index) const { return swap && index < 2 ? 1 - index : index; }

    std::int64_t name_of = -1, label_of = -1;
    bool swap = false;
    std::vector<std::int32_t> other_labels{no_label, no_label, no_label};
  };
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  options.epochs = 1;
  small::Run(options).trainer.run();
  options.resume = true;
  const auto error = [&](const Changed& data) {
    return error_of([&] { Trainer trainer(small::model(), small::info(), data, &small::validation_set(), options); });
  };
  Changed data;
  CHECK(error(data).empty());
  data.name_of = 3;
  CHECK(contains(error(data), "last.safetensors: the training data have changed"));
  data.name_of = -1;
  data.label_of = 3;
  CHECK(contains(error(data), "the training data have changed"));
  data.label_of = -1;
  data.swap = true;
  CHECK(contains(error(data), "the training data have changed"));
}

TEST_CASE("a file of weights alone can't be resumed") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  std::filesystem::create_directories(options.out / "checkpoints");
  save_model(options.out / "checkpoints" / "last.safetensors", small::info(), Parameters(small::model(), 0));
  options.resume = true;
  CHECK(contains(error_with([](TrainOptions&) {}, options), "holds weights alone"));
}
