#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "facet/inference.h"
#include "inference/small_model.h"
#include "testing.h"

using namespace facet;

namespace {

std::filesystem::path save(const TemporaryFolder& folder, const Parameters& parameters) {
  const std::filesystem::path file = folder.path() / "model.safetensors";
  save_model(file, small::info(), parameters);
  return file;
}

}  // namespace

TEST_CASE("every image is evaluated once, in order, those of the last, smaller batch too") {
  const TemporaryFolder folder;
  Predictor predictor(save(folder, Parameters(small::model(), 3)), small::model(), {.batch = 8});
  const MemoryDataset data = small::images(21);

  std::vector<std::int64_t> seen, sizes;
  std::vector<double> loss(3, 0);
  std::vector<std::int64_t> correct(3, 0), labelled(3, 0);
  const auto each = [&](const Batch& batch, const std::vector<HeadPrediction>& predictions) {
    sizes.push_back(batch.size);
    for (std::int64_t image = 0; image < batch.size; ++image) {
      const std::int64_t index = batch.indices[static_cast<std::size_t>(image)];
      seen.push_back(index);
      for (std::size_t head = 0; head < 3; ++head) {
        const std::int32_t label = data.labels(index)[head];
        if (label == no_label) continue;
        const auto classes = static_cast<std::int64_t>(small::heads()[head].classes.size());
        const HeadPrediction& prediction = predictions[head];
        ++labelled[head];
        correct[head] += prediction.predicted[static_cast<std::size_t>(image)] == label ? 1 : 0;
        loss[head] -=
            std::log(static_cast<double>(prediction.probabilities[static_cast<std::size_t>(image * classes + label)]));
      }
    }
  };
  const std::vector<HeadResult> results = evaluate(predictor, data, {.batch = 8}, each);

  CHECK(sizes == std::vector<std::int64_t>{8, 8, 5});
  for (std::int64_t index = 0; index < 21; ++index) CHECK(seen.at(static_cast<std::size_t>(index)) == index);
  REQUIRE(results.size() == 3);
  CHECK(results[1].labelled == 19);
  for (std::size_t head = 0; head < 3; ++head) {
    CHECK(results[head].head == small::heads()[head].name);
    CHECK(results[head].labelled == labelled[head]);
    const auto count = static_cast<double>(labelled[head]);
    CHECK(results[head].accuracy == doctest::Approx(static_cast<double>(correct[head]) / count));
    CHECK(results[head].loss == doctest::Approx(loss[head] / count).epsilon(1e-5));
  }
}

TEST_CASE("a batch size above the predictor's is reduced to it") {
  const TemporaryFolder folder;
  Predictor predictor(save(folder, Parameters(small::model(), 3)), small::model(), {.batch = 4});
  const MemoryDataset data = small::images(9);
  int batches = 0;
  evaluate(predictor, data, {.batch = 64}, [&](const Batch&, const std::vector<HeadPrediction>&) { ++batches; });
  CHECK(batches == 3);
}

TEST_CASE("a data set with other heads is an error") {
  const TemporaryFolder folder;
  Predictor predictor(save(folder, Parameters(small::model(), 3)), small::model());
  const MemoryDataset other({{"age", {"young", "old"}}});
  CHECK(error_of([&] { evaluate(predictor, other); }) ==
        "the data set has the heads age, the model has colour, side, stripes");
}

TEST_CASE("non-finite weights are an error that names file and tensor") {
  const TemporaryFolder folder;
  Parameters parameters(small::model(), 3);
  const int weight = parameters.find("side.logits.weight");
  std::vector<float> values = parameters.get(weight);
  values.back() = std::numeric_limits<float>::quiet_NaN();
  parameters.set(weight, values);
  const auto file = save(folder, parameters);
  CHECK(error_of([&] { Predictor(file, small::model()); }) ==
        file.string() + ": tensor 'side.logits.weight' holds a number that isn't finite");
}

TEST_CASE("non-finite logits are an error that names the head") {
  const TemporaryFolder folder;
  Parameters parameters(small::model(), 3);
  const int bias = parameters.find("side.logits.bias");
  const int weight = parameters.find("side.logits.weight");
  constexpr float largest = std::numeric_limits<float>::max();
  parameters.set(bias, {largest, largest});
  parameters.set(weight, std::vector<float>(parameters.get(weight).size(), largest));
  Predictor predictor(save(folder, parameters), small::model());
  CHECK(error_of([&] { evaluate(predictor, small::images(4)); }) == "image 0: the logits of head side aren't finite");

  // Without labels no loss reveals them.
  MemoryDataset unlabelled(small::heads());
  unlabelled.add({1, 1, {1, 2, 3}}, {no_label, no_label, no_label});
  CHECK(error_of([&] { evaluate(predictor, unlabelled); }) == "image 0: the logits of head side aren't finite");
}

TEST_CASE("a data set without an image is an error") {
  const TemporaryFolder folder;
  Predictor predictor(save(folder, Parameters(small::model(), 3)), small::model());
  CHECK(error_of([&] { evaluate(predictor, MemoryDataset(small::heads())); }) == "the data set has no images");
}
