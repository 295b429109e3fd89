#include "inference/views.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "data/transforms/mirror.h"
#include "facet/error.h"
#include "inference/small_model.h"
#include "testing.h"

using namespace facet;

namespace {

using Pixels = std::vector<std::uint8_t>;

/// The small model whose head `stripes` is ordinal.
std::vector<Head> with_ordinal() {
  std::vector<Head> heads = small::heads();
  heads[2].ordinal = true;
  return heads;
}

Graph model() {
  Graph graph;
  Value x = flatten(max_pool(relu(convolution(graph.input({3, small::size, small::size}), {.channels = 8})), {}));
  softmax_cross_entropy(linear(x, {.features = 3, .name = "colour"}), "colour");
  softmax_cross_entropy(linear(x, {.features = 2, .name = "side"}), "side");
  coral_loss(coral(x, {.classes = 3, .name = "stripes"}), "stripes");
  return graph;
}

Predictor predictor(std::int64_t batch = 8, int threads = 1, ResizeMode resize = ResizeMode::squash) {
  ModelInfo info = small::info();
  info.heads = with_ordinal();
  info.resize = resize;
  Graph graph = model();
  const Parameters parameters(graph, 3);
  return {info, std::move(graph), parameters, {.batch = batch, .threads = threads}};
}

/// The predictions of evaluate() for all images of a data set, one after another.
struct Evaluated {
  std::vector<HeadPrediction> heads = std::vector<HeadPrediction>(3);
  std::vector<HeadResult> results;
};
Evaluated evaluated(Predictor& predictor, const Dataset& data, TestTimeAugmentation tta, std::int64_t batch = 8) {
  Evaluated all;
  const auto each = [&](const Batch&, const std::vector<HeadPrediction>& predictions) {
    for (std::size_t h = 0; h < 3; ++h) {
      const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
      append(all.heads[h].logits, predictions[h].logits);
      append(all.heads[h].probabilities, predictions[h].probabilities);
      append(all.heads[h].predicted, predictions[h].predicted);
    }
  };
  all.results = evaluate(predictor, data, {.batch = batch, .tta = tta}, each);
  return all;
}

/// The mean of the predicted probabilities for the views of an image.
std::vector<std::vector<double>> mean_of(Predictor& predictor, const std::vector<Pixels>& views) {
  std::vector<std::vector<double>> mean(3);
  for (const Pixels& view : views) {
    const std::vector<HeadPrediction>& heads = predictor.predict(view);
    for (std::size_t h = 0; h < 3; ++h) {
      mean[h].resize(heads[h].probabilities.size());
      for (std::size_t c = 0; c < mean[h].size(); ++c) {
        mean[h][c] += heads[h].probabilities[c] / static_cast<double>(views.size());
      }
    }
  }
  return mean;
}

Pixels cut(const Pixels& image, int side, int top, int left) {
  Pixels pixels;
  for (int y = top; y < top + small::size; ++y) {
    const auto row = image.begin() + (y * side + left) * 3;
    pixels.insert(pixels.end(), row, row + std::ptrdiff_t{small::size} * 3);
  }
  return pixels;
}

void add_mirrored(std::vector<Pixels>& views) {
  const std::vector<Pixels> upright = views;
  for (Pixels view : upright) {
    data::mirror(view, small::size);
    views.push_back(std::move(view));
  }
}

/// Checks what evaluate() gives against the means over views, and that all that follows from these agrees with them.
void check(Predictor& predictor, const MemoryDataset& data, const Evaluated& all, std::int64_t image,
           const std::vector<Pixels>& views) {
  const std::vector<std::vector<double>> mean = mean_of(predictor, views);
  const auto at = static_cast<std::size_t>(image);
  for (std::size_t h = 0; h < 3; ++h) {
    const std::size_t classes = data.heads()[h].classes.size();
    double above = 1;
    for (std::size_t c = 0; c < classes; ++c) {
      CHECK(all.heads[h].probabilities[at * classes + c] == doctest::Approx(mean[h][c]).epsilon(1e-5));
      above -= mean[h][c];
      if (h < 2) {
        CHECK(all.heads[h].logits[at * classes + c] == doctest::Approx(std::log(mean[h][c])).epsilon(1e-4));
      } else if (c + 1 < classes) {
        const double logit = std::log(above / (1 - above));
        CHECK(all.heads[h].logits[at * (classes - 1) + c] == doctest::Approx(logit).epsilon(1e-3).scale(1));
      }
    }
  }
}

}  // namespace

TEST_CASE("tta flip: probabilities are means over the image and its mirror image, and all else follows from them") {
  const MemoryDataset data = small::images(11);
  Predictor model = predictor();
  const Evaluated all = evaluated(model, data, TestTimeAugmentation::flip);
  REQUIRE(all.heads[2].probabilities.size() == 33);
  REQUIRE(all.heads[2].logits.size() == 22);
  double loss = 0;
  std::int64_t correct = 0;
  for (std::int64_t image = 0; image < 11; ++image) {
    std::vector<Pixels> views(1, Pixels(small::size * small::size * 3));
    data.load({.index = image, .size = small::size}, views[0]);
    add_mirrored(views);
    check(model, data, all, image, views);
    const auto at = static_cast<std::size_t>(image);
    const auto first = all.heads[0].probabilities.begin() + image * 3;
    CHECK(all.heads[0].predicted[at] == std::max_element(first, first + 3) - first);
    const auto of_ordinal = all.heads[2].probabilities.begin() + image * 3;
    CHECK(all.heads[2].predicted[at] == (1 - of_ordinal[0] > 0.5) + (of_ordinal[2] > 0.5));
    loss -= std::log(static_cast<double>(first[data.labels(image)[0]])) / 11;
    correct += all.heads[2].predicted[at] == data.labels(image)[2] ? 1 : 0;
  }
  CHECK(all.results[0].loss == doctest::Approx(loss).epsilon(1e-5));
  CHECK(all.results[2].accuracy == doctest::Approx(static_cast<double>(correct) / 11));
  CHECK(all.results[2].within_one >= all.results[2].accuracy);
  CHECK(evaluated(model, data, TestTimeAugmentation::none).heads[0].probabilities != all.heads[0].probabilities);
}

TEST_CASE("tta crops: probabilities are means over the corners and the centre of a larger image, and their mirrors") {
  const MemoryDataset data = small::images(3);
  Predictor model = predictor();
  const Evaluated all = evaluated(model, data, TestTimeAugmentation::crops);
  const int side = 18;  // floor(16 / 0.875)
  for (std::int64_t image = 0; image < 3; ++image) {
    Pixels larger(static_cast<std::size_t>(side * side * 3));
    data.load({.index = image, .size = side}, larger);
    std::vector<Pixels> views;
    for (const auto& [top, left] : {std::pair{0, 0}, {0, 2}, {2, 0}, {2, 2}, {1, 1}}) {
      views.push_back(cut(larger, side, top, left));
    }
    add_mirrored(views);
    check(model, data, all, image, views);
  }
}

TEST_CASE("tta crops of a model that crops: its centre is what the model itself takes of a square") {
  ModelInfo info = small::info();
  info.resize = ResizeMode::crop;
  inference::Views views(TestTimeAugmentation::crops, info);
  CHECK(views.count() == 10);
  CHECK(views.loaded_size() == ImageSize(18));
  CHECK(views.loaded_resize() == ResizeMode::cover);
  base::RandomStream random(4, base::Purpose::synthesis);
  Image photograph{40, 40, {}};
  for (int i = 0; i < 40 * 40 * 3; ++i) photograph.pixels.push_back(static_cast<std::uint8_t>(random.below(256)));
  Pixels loaded(18 * 18 * 3), own(16 * 16 * 3);
  resize(photograph, 18, ResizeMode::cover, loaded);
  resize(photograph, 16, ResizeMode::crop, own);
  CHECK(std::ranges::equal(views.view(4, loaded, 1), own));
  info.resize = ResizeMode::squash;
  CHECK(inference::Views(TestTimeAugmentation::crops, info).loaded_resize() == ResizeMode::squash);
}

TEST_CASE("tta: the same for any batch size and threads") {
  const MemoryDataset data = small::images(7);
  for (const TestTimeAugmentation tta : {TestTimeAugmentation::flip, TestTimeAugmentation::crops}) {
    Predictor one = predictor(8, 1), other = predictor(3, 2);
    const Evaluated all = evaluated(one, data, tta), parts = evaluated(other, data, tta, 3);
    for (std::size_t h = 0; h < 3; ++h) {
      CHECK(all.heads[h].predicted == parts.heads[h].predicted);
      for (std::size_t i = 0; i < all.heads[h].probabilities.size(); ++i) {
        CHECK(all.heads[h].probabilities[i] == doctest::Approx(parts.heads[h].probabilities[i]).epsilon(1e-5));
      }
    }
  }
}

TEST_CASE("tta: a value that isn't one is an error, and probabilities of 0 have finite logits") {
  CHECK(to_string(TestTimeAugmentation::crops) == "crops");
  CHECK(error_of([] { to_string(static_cast<TestTimeAugmentation>(9)); }) ==
        "the test-time augmentation is 9; none, flip and crops are allowed");
  Graph graph;
  const Value x = flatten(graph.input({3, 4, 4}));
  softmax_cross_entropy(linear(x, {.features = 2, .name = "a"}), "a");
  binary_cross_entropy(linear(x, {.features = 1, .name = "b"}), "b");
  mean_squared_error(linear(x, {.features = 1, .name = "c"}), "c");
  coral_loss(coral(x, {.classes = 2, .name = "d"}), "d");
  const std::vector<Head> heads{{"a", {"x", "y"}}, {"b", {"x"}}, {"c", {"x"}}, {"d", {"x", "y"}, true}};
  inference::MeanPrediction mean(graph, heads);
  mean.begin();
  const auto view = [](float of_softmax, float of_sigmoid, float value, float of_coral) {
    std::vector<HeadPrediction> of_heads(4);
    of_heads[0] = {.logits = {-of_softmax, of_softmax}, .probabilities = {0, 1}};
    of_heads[1] = {.logits = {of_sigmoid}, .probabilities = {of_sigmoid > 0 ? 1.0F : 0.0F}};
    of_heads[2] = {.logits = {value}, .probabilities = {value}};
    of_heads[3] = {.logits = {of_coral}, .probabilities = {of_coral > 0 ? 0.0F : 1.0F, of_coral > 0 ? 1.0F : 0.0F}};
    return of_heads;
  };
  constexpr float largest = std::numeric_limits<float>::max();
  mean.add(view(largest / 4, -largest, -3, largest));
  mean.add(view(largest / 4, -largest, 4, largest));
  const std::vector<HeadPrediction>& result = mean.result();
  for (const HeadPrediction& head : result) {
    CHECK(std::ranges::all_of(head.logits, [](float logit) { return std::isfinite(logit); }));
  }
  CHECK(result[0].predicted[0] == 1);
  CHECK(result[1].logits[0] < -50);
  CHECK(result[2].logits[0] == 0.5F);
  CHECK(result[3].predicted[0] == 1);

  // Views that are all the same have the logits of one, however certain.
  for (const float logit : {-40.0F, -20.0F, -1.0F, 0.5F, 20.0F, 40.0F}) {
    CAPTURE(logit);
    mean.begin();
    for (int i = 0; i < 10; ++i) mean.add(view(logit, logit, logit, logit));
    const std::vector<HeadPrediction>& same = mean.result();
    CHECK(same[0].logits[1] - same[0].logits[0] == doctest::Approx(2 * logit).epsilon(1e-5));
    for (const std::size_t head : {1, 2, 3}) CHECK(same[head].logits[0] == doctest::Approx(logit).epsilon(1e-5));
  }
}

TEST_CASE("tta crops of images that aren't square: five crops, and their mirror images") {
  ModelInfo info = small::info();
  info.size = {20, 27};
  inference::Views views(TestTimeAugmentation::crops, info);
  REQUIRE(views.loaded_size() == ImageSize(22, 30));
  Pixels loaded;
  for (int image = 0; image < 2; ++image) {
    for (int y = 0; y < 22; ++y) {
      for (int x = 0; x < 30; ++x) {
        for (const int value : {image, y, x}) loaded.push_back(static_cast<std::uint8_t>(value));
      }
    }
  }
  // torchvision's CenterCrop begins at int(round(excess / 2)), which rounds 1.5 to 2.
  const std::array<std::pair<int, int>, 5> corners{{{0, 0}, {0, 3}, {2, 0}, {2, 3}, {1, 2}}};
  for (int view = 0; view < 10; ++view) {
    CAPTURE(view);
    const auto [top, left] = corners[static_cast<std::size_t>(view % 5)];
    Pixels expected;
    for (int image = 0; image < 2; ++image) {
      for (int y = 0; y < 20; ++y) {
        for (int x = 0; x < 27; ++x) {
          const int column = view < 5 ? x : 26 - x;
          for (const int value : {image, top + y, left + column}) expected.push_back(static_cast<std::uint8_t>(value));
        }
      }
    }
    CHECK(std::ranges::equal(views.view(view, loaded, 2), expected));
  }
}

TEST_CASE("a graph whose head isn't ordinal as its description says is refused") {
  ModelInfo info = small::info();
  const Graph graph = model();
  CHECK(error_of([&] { Predictor(info, graph, Parameters(graph, 1)); }) ==
        "the model: model small: head stripes is ordinal in the graph, and not in its description");
  info.heads = with_ordinal();
  info.heads[0].ordinal = true;
  CHECK(contains(error_of([&] { Predictor(info, graph, Parameters(graph, 1)); }),
                 "head colour is ordinal in its description, and not in the graph"));
}
