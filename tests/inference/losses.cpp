#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "facet/inference.h"
#include "inference/small_model.h"
#include "testing.h"

// The evaluation of heads with any loss, by a data set's labels and values.

using namespace facet;

namespace {

constexpr float quiet_nan = std::numeric_limits<float>::quiet_NaN();
constexpr std::int64_t image_count = 9;

/// A head of each kind; `function` is the loss of the last.
Graph model(const LossFunction& function) {
  Graph graph;
  const Value x = flatten(graph.input({3, 4, 4}));
  const auto logits = [&](std::int64_t outputs, const char* name) {
    return linear(x, {.features = outputs, .name = name});
  };
  softmax_cross_entropy(logits(3, "a"), "colour");
  binary_cross_entropy(logits(2, "b"), "worn");
  mean_squared_error(logits(1, "c"), "years");
  custom_loss(logits(2, "d"), "own", function);
  return graph;
}

ModelInfo info() {
  ModelInfo info;
  info.model = "four heads";
  info.size = 4;
  info.heads = {
      {"colour", {"red", "green", "blue"}}, {"worn", {"hat", "scarf"}}, {"years", {"years"}}, {"own", {"x", "y"}}};
  return info;
}

/// Random images. Every fourth lacks all targets; `own` has labels, and the other heads have values.
class Images final : public Dataset {
 public:
  Images() {
    base::RandomStream random(8, base::Purpose::synthesis);
    for (std::int64_t image = 0; image < image_count; ++image) {
      const bool none = image % 4 == 3;
      const auto value = [&](float number) { return none ? quiet_nan : number; };
      const float share = random.uniform();
      for (const float part : {share, 0.7F * (1 - share), 0.3F * (1 - share)}) colour.push_back(value(part));
      worn.push_back(value(static_cast<float>(random.below(2))));
      worn.push_back(image % 2 == 0 ? quiet_nan : value(random.uniform()));
      years.push_back(value(random.uniform(0, 3)));
      for (int head = 0; head < 3; ++head) labels_.push_back(no_label);
      labels_.push_back(none ? no_label : static_cast<std::int32_t>(random.below(2)));
      for (int i = 0; i < 48; ++i) pixels_.push_back(static_cast<std::uint8_t>(random.below(256)));
    }
  }
  std::int64_t size() const override { return image_count; }
  const std::vector<Head>& heads() const override { return heads_; }
  std::span<const std::int32_t> labels(std::int64_t index) const override {
    return std::span(labels_).subspan(static_cast<std::size_t>(index) * 4, 4);
  }
  void load(const LoadRequest& request, std::span<std::uint8_t> pixels) const override {
    std::copy_n(pixels_.begin() + request.index * 48, 48, pixels.begin());
  }
  std::string name(std::int64_t index) const override { return std::to_string(index); }
  bool has_targets(std::size_t head) const override { return head < 3 && with_values; }
  void targets(std::int64_t index, std::size_t head, std::span<float> values) const override {
    const std::vector<float>& all = head == 0 ? colour : head == 1 ? worn : years;
    std::copy_n(all.begin() + index * std::ssize(values), values.size(), values.begin());
  }

  bool with_values = true;
  std::vector<float> colour, worn, years;

 private:
  std::vector<Head> heads_ = info().heads;
  std::vector<std::int32_t> labels_;
  std::vector<std::uint8_t> pixels_;
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

TEST_CASE("heads of every loss are evaluated by the targets that the data set has") {
  const TemporaryFolder folder;
  int calls = 0;
  std::int64_t given = 0;
  const Graph graph = model([&](const LossInput& input, std::span<float> gradient) {
    ++calls;
    CHECK(gradient.empty());
    CHECK(input.targets.empty());
    given += std::ranges::count_if(input.labels, [](std::int32_t label) { return label != no_label; });
    return 2.5;
  });
  save_model(folder / "m.safetensors", info(), Parameters(graph, 3));
  Predictor predictor(folder / "m.safetensors", graph, {.batch = 4});
  CHECK(predictor.graph().heads()[1].kind == LossKind::binary_cross_entropy);
  const Images data;
  std::vector<std::vector<float>> logits(4), probabilities(4);
  const auto each = [&](const Batch&, const std::vector<HeadPrediction>& predictions) {
    for (std::size_t head = 0; head < 4; ++head) {
      const HeadPrediction& p = predictions[head];
      logits[head].insert(logits[head].end(), p.logits.begin(), p.logits.end());
      probabilities[head].insert(probabilities[head].end(), p.probabilities.begin(), p.probabilities.end());
    }
  };
  const std::vector<HeadResult> results = evaluate(predictor, data, {.batch = 4}, each);
  REQUIRE(results.size() == 4);

  double loss = 0, correct = 0, labelled = 0;
  for (std::size_t n = 0; n < image_count; ++n) {
    const auto q = std::span(data.colour).subspan(n * 3, 3);
    const auto p = std::span(probabilities[0]).subspan(n * 3, 3);
    if (std::isnan(q[0])) continue;
    ++labelled;
    for (std::size_t c = 0; c < 3; ++c) loss -= q[c] * std::log(static_cast<double>(p[c]));
    correct += std::ranges::max_element(q) - q.begin() == std::ranges::max_element(p) - p.begin() ? 1 : 0;
  }
  CHECK(results[0].labelled == labelled);
  CHECK(results[0].loss == doctest::Approx(loss / labelled).epsilon(1e-5));
  CHECK(results[0].accuracy == doctest::Approx(correct / labelled));
  CHECK(results[0].confusion.size() == 3);

  loss = correct = labelled = 0;
  for (std::size_t i = 0; i < data.worn.size(); ++i) {
    const double p = sigmoid(logits[1][i]), t = data.worn[i];
    CHECK(probabilities[1][i] == doctest::Approx(p).epsilon(1e-6));
    if (std::isnan(data.worn[i])) continue;
    ++labelled;
    loss -= t * std::log(p) + (1 - t) * std::log(1 - p);
    correct += (p >= 0.5) == (t >= 0.5) ? 1 : 0;
  }
  CHECK(results[1].labelled == labelled);
  CHECK(labelled < image_count * 2);
  CHECK(results[1].loss == doctest::Approx(loss / labelled).epsilon(1e-5));
  CHECK(results[1].accuracy == doctest::Approx(correct / labelled));
  CHECK(results[1].confusion.empty());

  loss = labelled = 0;
  for (std::size_t i = 0; i < data.years.size(); ++i) {
    if (std::isnan(data.years[i])) continue;
    ++labelled;
    loss += std::pow(static_cast<double>(logits[2][i]) - data.years[i], 2);
  }
  CHECK(probabilities[2] == logits[2]);
  CHECK(results[2].labelled == labelled);
  CHECK(results[2].loss == doctest::Approx(loss / labelled).epsilon(1e-5));
  CHECK(std::isnan(results[2].accuracy));

  CHECK(probabilities[3] == logits[3]);
  CHECK(calls == 3);  // once for each batch
  CHECK(given == results[3].labelled);
  CHECK(results[3].loss == doctest::Approx(2.5));
  CHECK(std::isnan(results[3].accuracy));
}

TEST_CASE("heads without targets in the data set have no loss, and a wrong target is an error that names the head") {
  const TemporaryFolder folder;
  const Graph graph = model([](const LossInput&, std::span<float>) { return 1.0; });
  save_model(folder / "m.safetensors", info(), Parameters(graph, 3));
  Predictor predictor(folder / "m.safetensors", graph);
  Images data;
  data.with_values = false;
  const std::vector<HeadResult> results = evaluate(predictor, data);
  for (const std::size_t head : {0U, 1U, 2U}) {
    CHECK(results[head].labelled == 0);
    CHECK(results[head].loss == 0);
  }
  CHECK(results[3].labelled == 7);
  data.with_values = true;
  data.worn[4] = 2;
  CHECK(error_of([&] { evaluate(predictor, data); }) ==
        "head 'worn': the target value 2 found; 0 to 1 are allowed, and NaN where there is none");
}

TEST_CASE("predictions don't call the caller's own loss, and its exception reaches the caller of an evaluation") {
  const TemporaryFolder folder;
  const Graph graph = model([](const LossInput&, std::span<float>) -> double { throw Error("no loss today"); });
  save_model(folder / "m.safetensors", info(), Parameters(graph, 3));
  Predictor predictor(folder / "m.safetensors", graph);
  CHECK(predictor.predict(std::vector<std::uint8_t>(48)).size() == 4);
  CHECK(error_of([&] { evaluate(predictor, Images()); }) == "no loss today");
}
