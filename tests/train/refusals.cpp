#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "temporary_folder.h"
#include "train/small_run.h"

using namespace facet;
using small::contains;
using small::error_of;

namespace {

std::string error_with(const std::function<void(TrainOptions&)>& change, TrainOptions options = small::options()) {
  change(options);
  return error_of([&] { small::Run run(options); });
}

}  // namespace

TEST_CASE("values that can't be meant are refused by name") {
  CHECK(error_with([](TrainOptions& options) { options.batch = 0; }) == "batch is 0; 1 or more is allowed");
  CHECK(error_with([](TrainOptions& options) { options.epochs = 0; }) == "epochs is 0; 1 or more is allowed");
  CHECK(error_with([](TrainOptions& options) { options.learning_rate = -1; }) ==
        "learning_rate is -1; a number above 0 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.beta2 = 1; }) == "beta2 is 1; 0 up to below 1 is allowed");
  CHECK(error_with([](TrainOptions& options) { options.keep = -1; }) == "keep is -1; 0 or more is allowed");
  CHECK(contains(error_with([](TrainOptions& options) {
                   options.batch = 64;
                   options.drop_last = true;
                 }),
                 "drop_last leaves no batch: the training set holds 45 images, a batch 64"));
}

TEST_CASE("data that isn't the model's is refused") {
  const MemoryDataset other({{"age", {"young", "old"}}});
  const MemoryDataset none(small::heads());
  const auto error = [](const Dataset& train, const Dataset* validation) {
    return error_of([&] { Trainer trainer(small::model(), small::info(), train, validation, small::options()); });
  };
  CHECK(contains(error(other, nullptr), "the training set has the heads age"));
  CHECK(contains(error(small::train_set(), &other), "the validation set has the heads age"));
  CHECK(error(none, nullptr) == "the training set holds no image");
  CHECK(error(small::train_set(), &none) == "the validation set holds no image");
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

TEST_CASE("a folder that can't be made is refused by name") {
  const TemporaryFolder folder;
  write_file(folder / "file", "");
  CHECK(contains(error_with([](TrainOptions&) {}, small::options(folder / "file" / "run")), "file/run"));
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
  check([](TrainOptions& changed) { changed.batch = 4; }, "batch 8, asked for is 4");
  check([](TrainOptions& changed) { changed.seed = 1; }, "seed 5, asked for is 1");
  check([](TrainOptions& changed) { changed.learning_rate = 2e-4; }, "learning_rate 0.001, asked for is 0.0002");
  check([](TrainOptions& changed) { changed.flip = false; }, "flip true, asked for is false");
  check([](TrainOptions& changed) { changed.drop_last = true; }, "drop_last false, asked for is true");
  if (has_native_bf16()) {
    check([](TrainOptions& changed) { changed.precision = PrecisionChoice::bf16; },
          "precision \"f32\", asked for is \"bf16\"");
  }

  const auto error_as = [&](const std::function<void(ModelInfo&)>& change, const Dataset& train) {
    ModelInfo info = small::info();
    change(info);
    return error_of([&] { Trainer trainer(small::model(), info, train, nullptr, options); });
  };
  CHECK(contains(error_as([](ModelInfo& info) { info.model = "other"; }, small::train_set()),
                 "model small, asked for is other"));
  CHECK(contains(error_as([](ModelInfo& info) { info.normalization.mean[0] = 0.5F; }, small::train_set()),
                 "mean 0.485,0.456,0.406, asked for is 0.5,0.456,0.406"));
  CHECK(contains(error_as([](ModelInfo&) {}, small::validation_set()), "training images 45, asked for is 21"));
}

TEST_CASE("weights alone are no run to go on with") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  std::filesystem::create_directories(options.out / "checkpoints");
  save_model(options.out / "checkpoints" / "last.safetensors", small::info(), Parameters(small::model(), 0));
  options.resume = true;
  CHECK(contains(error_with([](TrainOptions&) {}, options), "holds weights alone"));
}
