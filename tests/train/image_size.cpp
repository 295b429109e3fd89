#include <doctest/doctest.h>

#include <algorithm>
#include <span>

#include "facet/error.h"
#include "facet/inference.h"
#include "testing.h"
#include "train/small_run.h"

// A run, and the use of its model, on images of another height than width.

using namespace facet;

namespace {

constexpr ImageSize tall(48, 32);

ModelInfo tall_info() {
  ModelInfo info = small::info();
  info.size = tall;
  return info;
}

Trainer trainer_of(const ModelInfo& info, const TrainOptions& options) {
  return {small::model(small::heads(), info.size), info, small::train_set(), &small::validation_set(), options};
}

}  // namespace

TEST_CASE("a run on images that aren't square resumes to the same bits, and its model file says the size") {
  const TemporaryFolder folder;
  TrainOptions straight = small::options(folder / "straight"), stopped = small::options(folder / "stopped");
  straight.epochs = 2;
  Trainer whole = trainer_of(tall_info(), straight);
  whole.run();

  stopped.epochs = 1;
  trainer_of(tall_info(), stopped).run();
  stopped.epochs = 2;
  stopped.resume = true;
  {
    Trainer resumed = trainer_of(tall_info(), stopped);
    resumed.run();
    CHECK(small::learnt(resumed) == small::learnt(whole));
  }
  const std::string best = "checkpoints/best.safetensors";
  CHECK(read_file(stopped.out / best) == read_file(straight.out / best));
  CHECK(read_model_info(straight.out / best).size == tall);

  const std::string error = error_of([&] {
    ModelInfo turned = tall_info();
    turned.size = {tall.width, tall.height};
    trainer_of(turned, stopped);
  });
  CHECK(contains(error, "size 48x32, requested is 32x48"));
}

TEST_CASE("a predictor resizes images to the height and width of its model, one by one and in a data set") {
  const TemporaryFolder folder;
  TrainOptions options = small::options(folder / "run");
  options.epochs = 1;
  trainer_of(tall_info(), options).run();
  const std::filesystem::path file = options.out / "checkpoints" / "best.safetensors";
  Predictor predictor(file, small::model(small::heads(), tall), {.batch = 8});
  CHECK(predictor.info().size == tall);

  const MemoryDataset& data = small::validation_set();
  const std::size_t bytes = std::size_t{48} * 32 * 3;
  std::vector<float> expected;  // logits of the first head
  for (std::int64_t index = 0; index < data.size(); ++index) {
    Image image{small::size, small::size, std::vector<std::uint8_t>(std::size_t{small::size} * small::size * 3)};
    data.load({.index = index, .size = small::size}, image.pixels);
    std::vector<std::uint8_t> pixels(bytes);
    resize(image, tall, ResizeMode::squash, pixels);
    const std::vector<float> logits = predictor.predict(pixels)[0].logits;
    CHECK(predictor.predict(image)[0].logits == logits);
    expected.insert(expected.end(), logits.begin(), logits.end());
  }
  std::vector<float> found;
  evaluate(predictor, data, {.batch = 8}, [&](const Batch& batch, const std::vector<HeadPrediction>& predictions) {
    CHECK(batch.pixels.size() == static_cast<std::size_t>(batch.size) * bytes);
    found.insert(found.end(), predictions[0].logits.begin(), predictions[0].logits.end());
  });
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-4));

  CHECK(contains(error_of([&] { predictor.predict(std::vector<std::uint8_t>(bytes - 1)); }),
                 "1 to 8 images of 4608 bytes are allowed"));
  CHECK(contains(error_of([&] {
                   Predictor(file, small::model(small::heads(), {32, 48}));
                 }),
                 "has the shape 3x32x48; its description has 3x48x32"));
}
