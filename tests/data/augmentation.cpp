// What is drawn for images, and how it reaches a batch.
#include "facet/augmentation.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "data/decode/decode.h"
#include "data/decode/resize.h"
#include "data/make_jpeg.h"
#include "data/mix.h"
#include "data/transforms/blend.h"
#include "data/transforms/transforms.h"
#include "facet/loader.h"
#include "facet/sampler.h"
#include "facet/source.h"
#include "testing.h"

using facet::Augmentation;
using facet::Batch;
using facet::Bytes;
using facet::Image;
using facet::ImageSize;
using facet::Loader;
using facet::LoadRequest;
using namespace facet::data;

namespace {

constexpr std::int32_t none = facet::no_label;

/// Images of noise, each with its number as the first label; every third has no second label. The third head's targets
/// are values, which every fifth image lacks.
facet::MemoryDataset numbered(int count) {
  std::vector<std::string> numbers;
  for (int i = 0; i < count; ++i) numbers.push_back(std::to_string(i));
  facet::MemoryDataset data({{"number", numbers}, {"side", {"left", "right"}}, {"position", {"x", "y"}}});
  for (int i = 0; i < count; ++i) {
    const auto value = static_cast<float>(i);
    std::vector<std::vector<float>> targets(3);
    if (i % 5 != 0) targets[2] = {value, -value};
    data.add(facet::noise(20 + i % 3, 24, static_cast<std::uint32_t>(i + 1)), {i, i % 3 == 0 ? none : i % 2, none},
             targets);
  }
  return data;
}

/// A batch of all processes: their shares one after the other, by image.
struct Whole {
  std::vector<std::int64_t> indices;
  std::vector<Bytes> pixels;
  std::vector<std::vector<std::int32_t>> labels;
  std::vector<std::vector<std::vector<float>>> targets;
};

bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }
bool same(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  return std::ranges::equal(a, b, [](const std::vector<float>& x, const std::vector<float>& y) {
    return std::ranges::equal(x, y, [](float u, float v) { return same(u, v); });
  });
}

/// Adds the images of a batch.
void append(Whole& all, const Batch& batch) {
  const auto size = static_cast<std::size_t>(batch.size), bytes = size > 0 ? batch.pixels.size() / size : 0;
  for (std::size_t i = 0; i < size; ++i) {
    all.indices.push_back(batch.indices[i]);
    const auto begin = batch.pixels.begin() + static_cast<std::ptrdiff_t>(i * bytes);
    all.pixels.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(bytes));
    std::vector<std::int32_t> labels;
    for (std::size_t h = 0; h < 3; ++h) labels.push_back(batch.labels[h * size + i]);
    all.labels.push_back(labels);
    std::vector<std::vector<float>> targets;
    for (const std::vector<float>& values : batch.targets) {
      const auto from = values.begin() + static_cast<std::ptrdiff_t>(i * (values.size() / size));
      targets.emplace_back(from, from + static_cast<std::ptrdiff_t>(values.size() / size));
    }
    all.targets.push_back(targets);
  }
}

/// Loads an epoch in `world` processes, and puts their shares together.
Whole epoch_of(const facet::Dataset& data, const facet::LoaderOptions& options, int world = 1, int threads = 2) {
  std::vector<std::unique_ptr<Loader>> loaders;
  for (int rank = 0; rank < world; ++rank) {
    facet::LoaderOptions own = options;
    own.rank = rank;
    own.world = world;
    own.threads = threads;
    loaders.push_back(std::make_unique<Loader>(data, own));
    loaders.back()->start_epoch(3);
  }
  Whole all;
  for (std::int64_t batch = 0; batch < loaders[0]->batches_per_epoch(); ++batch) {
    for (const auto& loader : loaders) append(all, *loader->next());
  }
  return all;
}

Image region_of(const Image& image, const Region& region) {
  Image part{.width = region.width, .height = region.height, .pixels = {}};
  for (int y = 0; y < region.height; ++y) {
    const auto begin = image.pixels.begin() + ((region.top + y) * image.width + region.left) * 3;
    part.pixels.insert(part.pixels.end(), begin, begin + region.width * 3);
  }
  return part;
}

Bytes resized(const Image& image, ImageSize size) {
  Bytes pixels(static_cast<std::size_t>(size.height * size.width * 3));
  facet::resize(image, size, facet::ResizeMode::squash, pixels);
  return pixels;
}

facet::base::RandomStream stream(std::uint64_t number) { return {11, facet::base::Purpose::augmentation, 0, number}; }

}  // namespace

TEST_CASE("the part of RandomResizedCrop has an area and an aspect ratio in range, anywhere in the image") {
  const ImageSize whole(120, 200);
  std::set<int> lefts, tops;
  double areas = 0;
  constexpr int count = 500;
  for (std::uint64_t i = 0; i < count; ++i) {
    facet::base::RandomStream draws = stream(i);
    const Region region = draw_crop(draws, whole, 0.1);
    require_within(region, whole);
    const double share = double(region.width) * region.height / (120 * 200),
                 ratio = double(region.width) / region.height;
    CHECK(share > 0.09);
    CHECK(ratio > 0.74);
    CHECK(ratio < 1.36);
    lefts.insert(region.left);
    tops.insert(region.top);
    areas += share / count;
  }
  CHECK(lefts.size() > 100);
  CHECK(tops.size() > 50);
  CHECK(areas > 0.25);  // those above 0.8 don't fit this image: the mean is below that of 0.1 to 1
  CHECK(areas < 0.55);
  // No part of a strip has such an area and aspect ratio: the centre is taken.
  facet::base::RandomStream wide = stream(1), high = stream(2), nearly = stream(3);
  CHECK(draw_crop(wide, {30, 1000}, 0.9) == Region{480, 0, 40, 30});
  CHECK(draw_crop(high, {1000, 30}, 0.9) == Region{0, 480, 30, 40});
  CHECK(draw_crop(nearly, {2, 2}, 1) == Region{0, 0, 2, 2});
}

TEST_CASE("RandomErasing, RandomAffine and ColorJitter draw within their ranges") {
  const ImageSize size(60, 90);
  std::set<std::array<ColorChange, 4>> orders;
  for (std::uint64_t i = 0; i < 300; ++i) {
    facet::base::RandomStream draws = stream(i);
    if (const std::optional<Region> region = draw_erased(draws, size)) {
      require_within(*region, size);
      const double share = double(region->width) * region->height / (60 * 90);
      CHECK(share > 0.015);
      CHECK(share < 0.34);
    }
    const AffineMap map = draw_affine(draws, {.degrees = 20, .translate = 0.1, .scale = 0.3, .shear = 5}, size);
    CHECK(std::abs(map.degrees) <= 20);
    CHECK(std::abs(map.right) <= 9);
    CHECK(std::abs(map.down) <= 6);
    CHECK(map.right == std::round(map.right));
    CHECK(std::abs(map.scale - 1) <= 0.3);
    CHECK(std::abs(map.shear_x) <= 5);
    CHECK(map.shear_y == 0);
    const ColorSteps steps = draw_colors(draws, {.brightness = 0.4, .contrast = 2, .saturation = 0.1, .hue = 0.2});
    REQUIRE(steps.count == 4);
    std::array<ColorChange, 4> order{};
    for (std::size_t s = 0; s < 4; ++s) {
      const auto [change, factor] = steps.steps[s];
      order[s] = change;
      const bool is_hue = change == ColorChange::hue;
      const float reach = change == ColorChange::brightness   ? 0.4F
                          : change == ColorChange::contrast   ? 2.0F
                          : change == ColorChange::saturation ? 0.1F
                                                              : 0.2F;
      CHECK(factor >= (is_hue ? -reach : std::max(0.0F, 1 - reach)));
      CHECK(factor <= (is_hue ? reach : 1 + reach));
    }
    orders.insert(order);
    CHECK(draw_colors(draws, {.contrast = 0.5}).count == 1);
    CHECK(draw_colors(draws, {}).count == 0);
  }
  CHECK(orders.size() == 24);
}

TEST_CASE("Beta(alpha, alpha) has its mean and variance") {
  for (const double alpha : {0.05, 0.2, 1.0, 4.0}) {
    CAPTURE(alpha);
    double sum = 0, squares = 0;
    constexpr int count = 20000;
    facet::base::RandomStream draws = stream(static_cast<std::uint64_t>(alpha * 100));
    for (int i = 0; i < count; ++i) {
      const double value = draw_beta(draws, alpha);
      REQUIRE(value >= 0);
      REQUIRE(value <= 1);
      sum += value;
      squares += value * value;
    }
    const double mean = sum / count;
    CHECK(mean == doctest::Approx(0.5).epsilon(0.03));
    CHECK(squares / count - mean * mean == doctest::Approx(1 / (4 * (2 * alpha + 1))).epsilon(0.05));
  }
}

TEST_CASE("a random part of a JPEG has the pixels of that part of the whole image") {
  const std::vector<Bytes> files{facet::compress(facet::waves(301, 203)), facet::compress(facet::noise(97, 150)),
                                 facet::with_orientation(facet::compress(facet::waves(160, 120)), 6),
                                 facet::compress(facet::waves(640, 480), {.flags = TJFLAG_PROGRESSIVE}),
                                 facet::compress(facet::waves(1501, 1203))};
  for (const Bytes& file : files) {
    class One final : public facet::ImageSource {
     public:
      explicit One(Bytes bytes) : image_(facet::encoded_image(std::move(bytes))) {}
      std::int64_t size() const override { return 40; }
      const std::vector<facet::Head>& heads() const override { return heads_; }
      std::span<const std::int32_t> labels(std::int64_t) const override { return labels_; }
      facet::EncodedImage read(std::int64_t) const override { return image_; }
      std::string title() const override { return "one"; }
      std::string name(std::int64_t) const override { return "it"; }

     private:
      facet::EncodedImage image_;
      std::vector<facet::Head> heads_{{"a", {"x"}}};
      std::vector<std::int32_t> labels_{0};
    };
    const Image whole = decode_image(file, ImageSize(0)).image;
    const facet::SourceDataset data(std::make_shared<One>(file));
    for (std::int64_t index = 0; index < 40; ++index) {
      const LoadRequest request{.index = index, .size = {48, 40}, .random_resized_crop = 0.05, .seed = 4, .epoch = 2};
      const std::optional<Region> region = crop_of(request, {whole.height, whole.width});
      REQUIRE(region);
      Bytes ours(48 * 40 * 3);
      data.load(request, ours);
      const int by = jpeg_reduction({region->height, region->width}, request.size);
      const Image scaled = by == 1 ? whole : decode_image(file, {whole.height / by, whole.width / by}).image;
      CHECK(ours == resized(region_of(scaled, reduced(*region, by)), request.size));
      // Images that are decoded already are cropped in the same way.
      if (by > 1) continue;
      Bytes from_memory(ours.size());
      facet::resize(whole, request, from_memory);
      CHECK(from_memory == ours);
    }
  }
}

TEST_CASE("each transform changes images, and depends on no other one") {
  const ImageSize size(24, 32);
  const Augmentation all{.rand_augment = facet::RandAugmentOptions{2, 9},
                         .rotation = 30,
                         .affine = facet::AffineRange{10, 0.1, 0.2, 5},
                         .color_jitter = facet::ColorRange{0.4, 0.4, 0.4, 0.1},
                         .grayscale = 0.5,
                         .blur = 0.5,
                         .random_erasing = 0.5};
  std::vector<Augmentation> single(8);
  single[0].rand_augment = all.rand_augment;
  single[1].rotation = all.rotation;
  single[2].affine = all.affine;
  single[3].color_jitter = all.color_jitter;
  single[4].grayscale = all.grayscale;
  single[5].blur = all.blur;
  single[6].random_erasing = all.random_erasing;
  single[7].trivial_augment = true;
  Scratch scratch;
  const auto transformed = [&](const Augmentation& augmentation, Bytes pixels, std::int64_t index,
                               std::int64_t epoch = 1, std::uint64_t seed = 7) {
    const Transforms transforms{.size = size, .augmentation = augmentation, .fill = {9, 8, 7}, .seed = seed};
    transforms.apply(transforms.request(index, epoch), pixels, scratch);
    return pixels;
  };
  std::array<int, 8> changes{};
  for (std::int64_t index = 0; index < 40; ++index) {
    const Bytes before = facet::noise(32, 24).pixels;
    Bytes step_by_step = before;
    for (std::size_t i = 0; i < single.size(); ++i) {
      const Bytes after = transformed(single[i], before, index);
      changes[i] += after != before ? 1 : 0;
      CHECK(after == transformed(single[i], before, index));
      if (i < 7) step_by_step = transformed(single[i], step_by_step, index);
    }
    CHECK(transformed(all, before, index) == step_by_step);
    CHECK(transformed(single[3], before, index) != transformed(single[3], before, index, 2));
    CHECK(transformed(single[3], before, index) != transformed(single[3], before, index, 1, 8));
    CHECK(transformed(single[3], before, index) != transformed(single[3], before, index + 1));
    CHECK(transformed({}, before, index) == before);
  }
  for (std::size_t i = 0; i < changes.size(); ++i) {
    CAPTURE(i);
    CHECK(changes[i] >= 8);
    if (i >= 4 && i < 7) CHECK(changes[i] <= 32);  // half of the images
  }
}

TEST_CASE("erased rectangles have the fill colour") {
  const ImageSize size(30, 40);
  Scratch scratch;
  const Transforms transforms{.size = size, .augmentation = {.random_erasing = 1.0}, .fill = {9, 8, 7}, .seed = 3};
  for (std::int64_t index = 0; index < 20; ++index) {
    const LoadRequest request = transforms.request(index, 0);
    Bytes pixels(30 * 40 * 3, 100);
    transforms.apply(request, pixels, scratch);
    facet::base::RandomStream draws = draws_of(request, Transform::random_erasing);
    draws.uniform();
    const std::optional<Region> region = draw_erased(draws, size);
    REQUIRE(region);
    for (int y = 0; y < 30; ++y) {
      for (int x = 0; x < 40; ++x) {
        const bool inside = x >= region->left && x < region->left + region->width && y >= region->top &&
                            y < region->top + region->height;
        for (int c = 0; c < 3; ++c)
          CHECK(pixels[static_cast<std::size_t>((y * 40 + x) * 3 + c)] == (inside ? 9 - c : 100));
      }
    }
  }
}

TEST_CASE("Mixup and CutMix mix images and targets with a partner of their group") {
  const facet::MemoryDataset data = numbered(43);
  const facet::LoaderOptions plain{.batch = 20, .size = {16, 12}, .seed = 6};
  const Whole before = epoch_of(data, plain);
  int pasted = 0, blended = 0;
  for (const bool mixup : {false, true}) {
    for (const bool cutmix : {false, true}) {
      facet::LoaderOptions mixing = plain;
      if (mixup) mixing.augmentation.mixup = 0.8;
      if (cutmix) mixing.augmentation.cutmix = 1.0;
      const Whole after = epoch_of(data, mixing);
      REQUIRE(after.indices == before.indices);
      CHECK(after.labels == before.labels);
      for (std::size_t i = 0; i < after.indices.size(); ++i) {
        const std::size_t batch = i / 20 * 20, first = batch + (i - batch) / 8 * 8;
        const std::size_t size = std::min({first + 8, batch + 20, after.indices.size()}) - first;
        LoadRequest request{.index = after.indices[first], .size = plain.size, .seed = 6, .epoch = 3};
        const Mix mix = draw_mix(request, size, mixing.augmentation);
        CHECK((mix.shift > 0) == ((mixup || cutmix) && size > 1 && mix.own < 1));
        (mix.pastes ? pasted : blended) += mix.shift > 0 ? 1 : 0;
        const std::size_t partner = first + mix.partner(i - first, size);
        const double own = double{mix.own};
        for (std::size_t at = 0; at < after.pixels[i].size(); ++at) {
          const int x = static_cast<int>(at) / 3 % 12, y = static_cast<int>(at) / 36;
          const Region& part = mix.pasted;
          const bool inside =
              x >= part.left && x < part.left + part.width && y >= part.top && y < part.top + part.height;
          const double weight = mix.shift == 0 ? 1 : mix.pastes ? (inside ? 0 : 1) : own;
          const double expected = weight * before.pixels[i][at] + (1 - weight) * before.pixels[partner][at];
          CHECK(std::abs(after.pixels[i][at] - expected) <= 0.51);
        }
        if (mix.pastes) CHECK(own == doctest::Approx(1 - double(mix.pasted.width * mix.pasted.height) / (16 * 12)));
        const auto& targets = after.targets[i];
        if (!mixup && !cutmix) {
          CHECK(targets[0].empty());
          continue;
        }
        // Classes: each label has the weight of its image.
        const auto labels = before.labels[i], other_labels = before.labels[partner];
        for (const std::size_t head : {0, 1}) {
          std::vector<float> expected(targets[head].size(), std::nanf(""));
          const auto add = [&](std::int32_t label, float weight) {
            if (label == none || weight == 0) return;
            if (std::isnan(expected[0])) std::ranges::fill(expected, 0.0F);
            expected[static_cast<std::size_t>(label)] += weight;
          };
          add(labels[head], mix.own);
          add(other_labels[head], 1 - mix.own);
          CHECK(std::ranges::equal(targets[head], expected, [](float a, float b) { return same(a, b); }));
        }
        // Values: missing unless both images have them.
        for (std::size_t c = 0; c < 2; ++c) {
          const double mine = double{before.targets[i][2][c]}, others = double{before.targets[partner][2][c]};
          const double expected = own >= 1 ? mine : own * mine + (1 - own) * others;
          if (std::isnan(expected))
            CHECK(std::isnan(targets[2][c]));
          else
            CHECK(double{targets[2][c]} == doctest::Approx(expected));
        }
      }
    }
  }
  CHECK(pasted > 20);
  CHECK(blended > 20);
}

TEST_CASE("a mix is drawn from Beta(alpha, alpha), with any partner, and is Mixup or CutMix equally often") {
  struct Draws {
    std::array<int, 9> shifts = {};
    int pasted = 0;
    double sum = 0, squares = 0;
  };
  constexpr int count = 4000;
  const auto drawn = [](const Augmentation& augmentation, auto takes) {
    Draws draws;
    int taken = 0;
    for (std::int64_t index = 0; index < count; ++index) {
      const Mix mix = draw_mix({.index = index, .size = {160, 200}, .seed = 4, .epoch = 2}, 8, augmentation);
      ++draws.shifts[mix.shift];
      draws.pasted += mix.pastes ? 1 : 0;
      if (!takes(mix)) continue;
      ++taken;
      draws.sum += double{mix.own};
      draws.squares += double{mix.own} * double{mix.own};
    }
    draws.sum /= taken;
    draws.squares /= taken;
    return draws;
  };
  const auto variance = [](const Draws& draws) { return draws.squares - draws.sum * draws.sum; };
  const auto any = [](const Mix&) { return true; };
  for (const double alpha : {0.2, 1.0, 5.0}) {
    CAPTURE(alpha);
    const Draws mixup = drawn({.mixup = alpha}, any);
    CHECK(mixup.pasted == 0);
    CHECK(mixup.sum == doctest::Approx(0.5).epsilon(0.05));
    CHECK(variance(mixup) == doctest::Approx(1 / (4 * (2 * alpha + 1))).epsilon(0.06));
  }
  // Each kind has its own alpha.
  const Augmentation both{.mixup = 0.2, .cutmix = 20.0};
  const Draws of_mixup = drawn(both, [](const Mix& mix) { return !mix.pastes; });
  CHECK(of_mixup.pasted == doctest::Approx(count / 2.0).epsilon(0.06));
  CHECK(variance(of_mixup) == doctest::Approx(1 / (4 * 1.4)).epsilon(0.08));
  for (std::size_t shift = 1; shift < 8; ++shift) {
    CHECK(of_mixup.shifts[shift] == doctest::Approx(count / 7.0).epsilon(0.25));
  }
  // The rectangle's area before it is cut at the image's edges is near a half; a centre near an edge cuts it.
  const Draws of_cutmix = drawn(both, [](const Mix& mix) { return mix.pastes; });
  CHECK(of_cutmix.sum > 0.6);
  CHECK(of_cutmix.sum < 0.75);
  CHECK(variance(of_cutmix) < 0.02);
}

TEST_CASE("images of any width are blended as defined, with any weight") {
  facet::base::RandomStream random(6, facet::base::Purpose::synthesis);
  for (const std::size_t count : {1, 15, 16, 17, 48, 75, 1000}) {
    for (const int weight : {0, 1, 37, 1 << 13, (1 << 14) - 1, 1 << 14}) {
      Bytes own(count), other(count);
      for (auto* bytes : {&own, &other}) {
        for (std::uint8_t& byte : *bytes) {
          const std::uint32_t drawn = random.below(300);
          byte = static_cast<std::uint8_t>(drawn > 277 ? 255 : drawn > 255 ? 0 : drawn);
        }
      }
      Bytes blended = own;
      blend(blended, other, weight);
      const double share = weight / 16384.0;
      for (std::size_t i = 0; i < count; ++i) {
        const double expected = share * own[i] + (1 - share) * other[i];
        CHECK(std::abs(blended[i] - expected) <= 0.51);
        // The last bytes, which are computed one by one, are as the others.
        Bytes one{own[i]};
        blend(one, std::span(other).subspan(i, 1), weight);
        CHECK(one[0] == blended[i]);
      }
    }
  }
}

TEST_CASE("batches with all changes depend on neither the number of threads nor that of processes") {
  const facet::MemoryDataset data = numbered(61);
  facet::LoaderOptions options{.batch = 26, .size = {16, 12}, .seed = 2, .augmentation = {}, .fill = {1, 2, 3}};
  options.augmentation.preset = facet::AugmentPreset::strong;
  options.augmentation.color_jitter = facet::ColorRange{0.4, 0.4, 0.4, 0.1};
  // Images occur again, also within a group: each time they are another one.
  std::vector<double> weights(61, 1);
  weights[7] = 30;
  options.sampler = std::make_shared<const facet::WeightedRandomSampler>(weights);
  const Whole first = epoch_of(data, options, 1, 1);
  CHECK(first.indices.size() == 61);
  std::set<Bytes> different;
  for (std::size_t i = 0; i < 61; ++i) {
    if (first.indices[i] == 7) different.insert(first.pixels[i]);
  }
  CHECK(std::ranges::count(first.indices, 7) > 10);
  CHECK(std::ssize(different) == std::ranges::count(first.indices, 7));
  for (const auto& [world, threads] : {std::pair(1, 3), {2, 2}, {3, 1}, {5, 2}, {13, 1}, {26, 1}}) {
    CAPTURE(world);
    const Whole other = epoch_of(data, options, world, threads);
    CHECK(other.indices == first.indices);
    CHECK(other.pixels == first.pixels);
    CHECK(other.labels == first.labels);
    CHECK(std::ranges::equal(other.targets, first.targets, [](const auto& a, const auto& b) { return same(a, b); }));
  }
  // An epoch that begins later has the same batches.
  Loader loader(data, options);
  loader.start_epoch(3, 1);
  Whole rest;
  while (const Batch* batch = loader.next()) append(rest, *batch);
  CHECK(std::ranges::equal(rest.pixels, std::span(first.pixels).subspan(26)));
}

TEST_CASE("images of a few pixels can be changed in every way") {
  Scratch scratch;
  const Augmentation all{.rand_augment = facet::RandAugmentOptions{14, 30},
                         .rotation = 180,
                         .affine = facet::AffineRange{180, 1, 0.9, 80},
                         .color_jitter = facet::ColorRange{1, 1, 1, 0.5},
                         .grayscale = 0.5,
                         .blur = 1.0,
                         .random_erasing = 1.0};
  for (const ImageSize size : {ImageSize(1), ImageSize(1, 7), ImageSize(6), ImageSize(3, 2)}) {
    for (std::int64_t index = 0; index < 50; ++index) {
      Bytes pixels = facet::noise(size.width, size.height).pixels;
      const Transforms transforms{.size = size, .augmentation = all, .fill = {9, 8, 7}, .seed = 3};
      transforms.apply(transforms.request(index, 1), pixels, scratch);
      CHECK(pixels.size() == static_cast<std::size_t>(size.width * size.height * 3));
    }
  }
}

TEST_CASE("a request has the part that is to be taken, and one that is no share is an error") {
  const Transforms transforms{.size = 16, .augmentation = {.random_resized_crop = 0.4}, .seed = 3};
  CHECK(transforms.request(2, 1).random_resized_crop == 0.4);
  CHECK(Transforms().request(2, 1).random_resized_crop == 0);
  Bytes pixels(16 * 16 * 3);
  for (const double share : {-0.1, 1.5, std::nan("")}) {
    CHECK(facet::contains(facet::error_of([&] {
                            facet::resize(facet::noise(20, 20), {.size = 16, .random_resized_crop = share, .seed = 3},
                                          pixels);
                          }),
                          "; 0 to 1 is allowed"));
  }
}

TEST_CASE("a preset's values stand where none are given") {
  const Augmentation strong{.preset = facet::AugmentPreset::strong, .mixup = 0.0};
  const Augmentation resolved = strong.resolved();
  CHECK(resolved.mixup == 0.0);
  CHECK(resolved.cutmix == 1.0);
  CHECK(resolved.random_resized_crop == 0.25);
  CHECK(resolved.rand_augment == facet::RandAugmentOptions{2, 9});
  CHECK(!resolved.color_jitter);
  const Augmentation light = Augmentation{.preset = facet::AugmentPreset::light}.resolved();
  CHECK(light.color_jitter == facet::ColorRange{0.2, 0.2, 0.2, 0});
  CHECK(!Augmentation().resolved().random_resized_crop);
  const facet::MemoryDataset data = numbered(2);
  CHECK(Augmentation{.preset = facet::AugmentPreset::strong}.mixes());
  CHECK(!Augmentation{.preset = facet::AugmentPreset::strong, .mixup = 0.0, .cutmix = 0.0}.mixes());
  CHECK(!Augmentation{.preset = facet::AugmentPreset::light}.mixes());
  for (const double alpha : {0.0, 0.001, 1000.0}) facet::check_augmentation({.mixup = alpha, .cutmix = alpha});
  CHECK(facet::error_of([] { facet::check_augmentation({.cutmix = 1e-4}); }) ==
        "cutmix is 0.0001; 0, or 0.001 to 1000 is allowed");
  CHECK(facet::error_of([&] { Loader(data, {.augmentation = {.rotation = 181.0}}); }) ==
        "loader: augmentation: rotation is 181; 0 to 180 is allowed");
  CHECK(facet::error_of([] {
          facet::check_augmentation({.trivial_augment = true, .rand_augment = facet::RandAugmentOptions{1, 9}});
        }) == "trivial_augment and rand_augment are both on; one of them is allowed");
}
