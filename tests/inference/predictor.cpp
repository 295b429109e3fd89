#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "facet/inference.h"
#include "facet/models.h"
#include "inference/small_model.h"
#include "program/choose_precision.h"
#include "program/tuning_record.h"
#include "testing.h"

using namespace facet;

namespace {

/// Writes a model file of untrained weights.
std::filesystem::path model_file(const TemporaryFolder& folder) {
  const Parameters parameters(small::model(), 7);
  const std::filesystem::path file = folder.path() / "model.safetensors";
  save_model(file, small::info(), parameters);
  return file;
}

/// The pixels of images one after another.
std::vector<std::uint8_t> pixels_of(const Dataset& data, std::int64_t first, std::int64_t count) {
  const std::size_t bytes = std::size_t{small::size} * small::size * 3;
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(count) * bytes);
  for (std::int64_t image = 0; image < count; ++image) {
    data.load({.index = first + image, .size = small::size},
              std::span(pixels).subspan(static_cast<std::size_t>(image) * bytes, bytes));
  }
  return pixels;
}

/// Largest difference of logits, relative to their size.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0, scale = 1e-6;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
    scale = std::max(scale, std::abs(static_cast<double>(b[i])));
  }
  return largest / scale;
}

}  // namespace

TEST_CASE("a prediction's logits, probabilities and class are consistent") {
  const TemporaryFolder folder;
  Predictor predictor(model_file(folder), small::model(), {.batch = 8});
  CHECK(predictor.info().heads == small::heads());
  const MemoryDataset data = small::images(8);
  const std::vector<HeadPrediction>& predictions = predictor.predict(pixels_of(data, 0, 8));
  REQUIRE(predictions.size() == 3);
  for (std::size_t head = 0; head < predictions.size(); ++head) {
    const HeadPrediction& prediction = predictions[head];
    const std::size_t classes = small::heads()[head].classes.size();
    REQUIRE(prediction.logits.size() == 8 * classes);
    REQUIRE(prediction.probabilities.size() == 8 * classes);
    REQUIRE(prediction.predicted.size() == 8);
    for (std::size_t image = 0; image < 8; ++image) {
      const float* logits = prediction.logits.data() + image * classes;
      const float* probabilities = prediction.probabilities.data() + image * classes;
      double sum = 0, exponentials = 0;
      for (std::size_t c = 0; c < classes; ++c) {
        sum += probabilities[c];
        exponentials += std::exp(static_cast<double>(logits[c]));
      }
      CHECK(sum == doctest::Approx(1).epsilon(1e-6));
      CHECK(probabilities[0] == doctest::Approx(std::exp(static_cast<double>(logits[0])) / exponentials).epsilon(1e-5));
      CHECK(prediction.predicted[image] == std::max_element(logits, logits + classes) - logits);
    }
  }
}

TEST_CASE("an image's prediction doesn't depend on its batch, nor on earlier batch sizes") {
  const TemporaryFolder folder;
  Predictor predictor(model_file(folder), small::model(), {.batch = 8});
  const MemoryDataset data = small::images(8);
  const std::vector<float> together = predictor.predict(pixels_of(data, 0, 8))[0].logits;
  for (const int batch : {1, 2, 3, 4, 5, 8, 1}) {
    const std::vector<float> some = predictor.predict(pixels_of(data, 0, batch))[0].logits;
    CHECK(difference(some, {together.begin(), together.begin() + batch * 3}) < 1e-4);
  }
  CHECK(predictor.predict(pixels_of(data, 0, 8))[0].logits == together);
}

TEST_CASE("a single image is resized") {
  const TemporaryFolder folder;
  Predictor predictor(model_file(folder), small::model());
  const MemoryDataset data = small::images(1);
  Image image{small::size, small::size, pixels_of(data, 0, 1)};
  const std::vector<float> native = predictor.predict(image)[0].logits;
  CHECK(native.size() == 3);
  CHECK(predictor.predict(pixels_of(data, 0, 1))[0].logits == native);

  Image doubled{2 * small::size, 2 * small::size, {}};
  for (int y = 0; y < doubled.height; ++y) {
    for (int x = 0; x < doubled.width; ++x) {
      const std::size_t from = (static_cast<std::size_t>(y / 2) * small::size + static_cast<std::size_t>(x / 2)) * 3;
      for (std::size_t channel = 0; channel < 3; ++channel) doubled.pixels.push_back(image.pixels[from + channel]);
    }
  }
  std::vector<std::uint8_t> resized(image.pixels.size());
  resize(doubled, small::size, ResizeMode::squash, resized);
  const std::vector<float> expected = predictor.predict(resized)[0].logits;
  CHECK(predictor.predict(doubled)[0].logits == expected);
  CHECK(expected != native);
}

TEST_CASE("images are resized in the model file's mode, one by one and in a data set") {
  const TemporaryFolder folder;
  Image image{40, 24, std::vector<std::uint8_t>(40 * 24 * 3)};
  for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<std::uint8_t>(i * i / 7);
  MemoryDataset data(small::heads());
  data.add(image, {0, 0, 0});
  std::vector<std::vector<float>> logits_by_mode;
  for (const ResizeMode mode : {ResizeMode::squash, ResizeMode::crop}) {
    ModelInfo info = small::info();
    info.resize = mode;
    save_model(folder / "model.safetensors", info, Parameters(small::model(), 7));
    Predictor predictor(folder / "model.safetensors", small::model());
    std::vector<std::uint8_t> pixels(small::size * small::size * 3);
    resize(image, small::size, mode, pixels);
    const std::vector<float> expected = predictor.predict(pixels)[0].logits;
    CHECK(predictor.predict(image)[0].logits == expected);
    evaluate(predictor, data, {.batch = 1}, [&](const Batch&, const std::vector<HeadPrediction>& predictions) {
      CHECK(predictions[0].logits == expected);
    });
    logits_by_mode.push_back(expected);
  }
  CHECK(logits_by_mode[0] != logits_by_mode[1]);
}

TEST_CASE("non-finite logits are an error that names head and image") {
  const TemporaryFolder folder;
  Parameters parameters(small::model(), 7);
  constexpr float largest = std::numeric_limits<float>::max();
  const int weight = parameters.find("side.logits.weight");
  parameters.set(parameters.find("side.logits.bias"), {largest, largest});
  parameters.set(weight, std::vector<float>(parameters.get(weight).size(), largest));
  save_model(folder / "model.safetensors", small::info(), parameters);
  Predictor predictor(folder / "model.safetensors", small::model(), {.batch = 4});
  const MemoryDataset data = small::images(3);
  CHECK(error_of([&] { predictor.predict(pixels_of(data, 0, 3)); }) ==
        "head side: the logits of image 1 of 3 aren't finite");
}

TEST_CASE("several predictors can exist at once, and can be moved") {
  const TemporaryFolder folder;
  const std::filesystem::path file = model_file(folder);
  Predictor first(file, small::model(), {.batch = 4});
  Predictor second(file, small::model(), {.batch = 2});
  Predictor moved(std::move(first));
  const MemoryDataset data = small::images(2);
  const std::vector<std::uint8_t> pixels = pixels_of(data, 0, 2);
  const std::vector<float> logits = moved.predict(pixels)[1].logits;
  CHECK(second.predict(pixels)[1].logits == logits);
  CHECK(moved.predict(pixels)[1].logits == logits);
}

TEST_CASE("bf16 predictions are close to f32's; automatic uses one of the two precisions") {
  if (!has_native_bf16()) {
    MESSAGE("left out: this CPU, or this oneDNN, computes no bf16");
    return;
  }
  const TemporaryFolder folder;
  const std::filesystem::path file = model_file(folder);
  const MemoryDataset data = small::images(4);
  const std::vector<std::uint8_t> pixels = pixels_of(data, 0, 4);
  const auto logits = [&](PrecisionChoice precision) {
    Predictor predictor(file, small::model(), {.batch = 4, .precision = precision});
    return std::pair(predictor.precision(), predictor.predict(pixels)[2].logits);
  };
  const auto [f32, exact] = logits(PrecisionChoice::f32);
  const auto [bf16, rounded] = logits(PrecisionChoice::bf16);
  const auto [chosen, either] = logits(PrecisionChoice::automatic);
  CHECK(f32 == Precision::f32);
  CHECK(bf16 == Precision::bf16);
  CHECK(difference(rounded, exact) < 0.05);
  CHECK(rounded != exact);
  CHECK(either == (chosen == Precision::f32 ? exact : rounded));
}

TEST_CASE("a reference model of another shape is built from its file alone; a file without a shape means the paper's") {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder / "model.safetensors";
  ModelInfo info = small::info();
  info.model = "reference";
  info.shape = to_string(ReferenceShape{.stem = 4, .blocks = {{8, 1}}, .hidden = {{"side", {.features = 3}}}});
  const Graph graph = build_model(info);
  save_model(file, info, Parameters(graph, 7));
  Predictor predictor(file);
  CHECK(predictor.info().shape == info.shape);
  const std::vector<std::uint8_t> pixels = pixels_of(small::images(1), 0, 1);
  const std::vector<float> logits = predictor.predict(pixels)[1].logits;
  Predictor given(file, build_model(info));
  CHECK(given.predict(pixels)[1].logits == logits);

  info.shape.clear();
  save_model(file, info, Parameters(build_model("reference", {.heads = info.heads, .size = info.size}), 7));
  CHECK_NOTHROW(Predictor{file});
  info.shape = "wide";
  save_model(file, info, Parameters(graph, 7));
  CHECK(contains(error_of([&] { Predictor refused(file); }),
                 file.string() + R"(: the reference model's shape is "wide"; JSON of this form is allowed: {)"));
  info.shape = to_string(ReferenceShape{.hidden = {{"mood", {}}}});
  save_model(file, info, Parameters(graph, 7));
  CHECK(contains(error_of([&] { Predictor refused(file); }), "a hidden layer is given for head mood"));
}

TEST_CASE("invalid images, files and options are errors") {
  const TemporaryFolder folder;
  const std::filesystem::path file = model_file(folder);
  Predictor predictor(file, small::model(), {.batch = 2});
  const MemoryDataset data = small::images(3);
  CHECK(error_of([&] { predictor.predict(pixels_of(data, 0, 3)); }) ==
        "predict was given 2304 bytes of pixels; 1 to 2 images of 768 bytes are allowed");
  CHECK_THROWS_AS(predictor.predict(std::vector<std::uint8_t>(767)), Error);
  CHECK_THROWS_AS(predictor.predict(std::span<const std::uint8_t>()), Error);

  std::vector<Head> fewer = small::heads();
  fewer.pop_back();
  const std::string other = error_of([&] { Predictor refused(file, small::model(fewer)); });
  CHECK(contains(other, file.string()));
  CHECK(contains(other, "the graph has 2 heads; its description has 3"));
  const std::string unknown = error_of([&] { Predictor refused(file); });
  CHECK(contains(unknown, file.string()));
  CHECK(contains(unknown, "small"));
  CHECK(contains(error_of([&] { Predictor refused(folder.path() / "none.safetensors"); }), "none.safetensors"));
  CHECK(error_of([&] { Predictor refused(file, small::model(), {.batch = 0}); }) ==
        "batch is 0; at least 1 is allowed");
}

TEST_CASE("invalid numbers of threads are refused") {
  const TemporaryFolder folder;
  const std::filesystem::path file = model_file(folder);
  for (const int threads : {-1, 4097, 100'000, std::numeric_limits<int>::max()}) {
    CAPTURE(threads);
    CHECK_THROWS_WITH_AS(Predictor(file, small::model(), {.threads = threads}), doctest::Contains("threads is"), Error);
    CHECK_THROWS_WITH_AS(Predictor(file, small::model(), {.loader_threads = threads}),
                         doctest::Contains("loader_threads is"), Error);
    Predictor predictor(file, small::model());
    const MemoryDataset data = small::images(2);
    CHECK_THROWS_WITH_AS(evaluate(predictor, data, {.loader_threads = threads}), doctest::Contains("loader_threads is"),
                         Error);
  }
}

TEST_CASE("a predictor that was moved from throws") {
  const TemporaryFolder folder;
  Predictor predictor(model_file(folder), small::model());
  Predictor moved = std::move(predictor);
  const MemoryDataset data = small::images(1);
  const std::vector<std::uint8_t> pixels = pixels_of(data, 0, 1);
  CHECK_THROWS_WITH_AS(predictor.predict(pixels), doctest::Contains("moved from"), Error);  // NOLINT
  CHECK_THROWS_AS(predictor.predict(Image{}), Error);
  CHECK_THROWS_AS(predictor.info(), Error);
  CHECK_THROWS_AS(predictor.options(), Error);
  CHECK_THROWS_AS(predictor.precision(), Error);
  CHECK(moved.predict(pixels).size() == 3);
}

TEST_CASE("the precision that automatic chose is kept in the tuning cache") {
  const TemporaryFolder folder;
  const std::filesystem::path file = model_file(folder);
  const InferenceOptions options{
      .batch = 4, .precision = PrecisionChoice::automatic, .threads = 2, .tuning_cache = folder.path() / "cache"};
  const program::TuningCache cache(options.tuning_cache);
  const std::string key =
      "inference " + program::measured_precision_key(small::info().model, small::info().shape, small::model(), 4, 2) +
      " untuned";
  const Precision first = Predictor(file, small::model(), options).precision();
  program::TuningRecord known(false);
  cache.read_into(known);
  CHECK(known.find(key) == (has_native_bf16() ? to_string(first) : ""));
  for (const Precision recorded : {Precision::f32, Precision::bf16}) {
    program::TuningRecord tuning_record(false);
    tuning_record.record_measured(key, to_string(recorded));
    CHECK(cache.add(tuning_record) == "");
    const Precision found = Predictor(file, small::model(), options).precision();
    CHECK(found == (has_native_bf16() ? recorded : Precision::f32));
  }
}
