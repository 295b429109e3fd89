#include "data/decode/resize.h"

#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <climits>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

#include "data/make_jpeg.h"
#include "facet/image.h"
#include "facet/machine.h"

using facet::Bytes;
using facet::Image;
using facet::ImageSize;
using facet::ResizeMode;

namespace {

Bytes resized(const Image& image, ImageSize size, ResizeMode mode = ResizeMode::squash) {
  Bytes pixels(static_cast<std::size_t>(size.height * size.width * 3));
  facet::resize(image, size, mode, pixels);
  return pixels;
}

/// Returns the weight of every input in an output by the definition of the filter.
std::vector<double> triangle(int inputs, int outputs, int output) {
  const double scale = static_cast<double>(inputs) / outputs;
  std::vector<double> weights;
  for (int i = 0; i < inputs; ++i) {
    weights.push_back(std::max(0.0, 1 - std::abs(i + 0.5 - (output + 0.5) * scale) / std::max(scale, 1.0)));
  }
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= total;
  return weights;
}

/// Resizes the whole image by the definition of the filter, rounding to bytes after each axis.
Image resized_whole(const Image& image, int width, int height) {
  Image narrowed{.width = width, .height = image.height, .pixels = {}};
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < width; ++x) {
      const std::vector<double> weights = triangle(image.width, width, x);
      for (int c = 0; c < 3; ++c) {
        double sum = 0;
        for (int i = 0; i < image.width; ++i) {
          sum += weights[static_cast<std::size_t>(i)] *
                 image.pixels[static_cast<std::size_t>((y * image.width + i) * 3 + c)];
        }
        narrowed.pixels.push_back(static_cast<std::uint8_t>(std::lround(sum)));
      }
    }
  }
  Image made{.width = width, .height = height, .pixels = {}};
  for (int y = 0; y < height; ++y) {
    const std::vector<double> weights = triangle(image.height, height, y);
    for (int at = 0; at < width * 3; ++at) {
      double sum = 0;
      for (int i = 0; i < image.height; ++i) {
        sum += weights[static_cast<std::size_t>(i)] * narrowed.pixels[static_cast<std::size_t>(i * width * 3 + at)];
      }
      made.pixels.push_back(static_cast<std::uint8_t>(std::lround(sum)));
    }
  }
  return made;
}

Bytes cropped(const Image& image, int left, int top, ImageSize size) {
  Bytes pixels;
  for (int y = top; y < top + size.height; ++y) {
    const auto row = image.pixels.begin() + (y * image.width + left) * 3;
    pixels.insert(pixels.end(), row, row + size.width * 3);
  }
  return pixels;
}

}  // namespace

TEST_CASE("enlarging uses the two nearest pixels, reducing the pixels under the triangle") {
  using Weights = std::vector<std::int32_t>;
  const std::int32_t one = 1 << facet::data::weight_bits;
  const auto twice = facet::data::triangle_taps(2, 4, 0, 4);
  CHECK(twice.count == 2);
  CHECK(twice.first == std::vector<int>{0, 0, 0, 0});
  CHECK(twice.weights == Weights{one, 0, one * 3 / 4, one / 4, one / 4, one * 3 / 4, 0, one});

  const auto half = facet::data::triangle_taps(8, 4, 0, 4);
  CHECK(half.count == 4);
  CHECK(half.first == std::vector<int>{0, 1, 3, 4});
  CHECK(std::equal(half.weights.begin() + 4, half.weights.begin() + 8,
                   Weights{one / 8, one * 3 / 8, one * 3 / 8, one / 8}.begin()));
  for (std::size_t o = 0; o < 4; ++o) {
    CHECK(std::abs(std::accumulate(&half.weights[4 * o], &half.weights[4 * o] + 4, 0) - one) <= 2);
  }
}

TEST_CASE("the weights are those of the triangle, even where rounding affects its ends") {
  const double one = 1 << facet::data::weight_bits;
  const auto check = [&](int inputs, int outputs) {
    CAPTURE(inputs);
    CAPTURE(outputs);
    const auto taps = facet::data::triangle_taps(inputs, outputs, 0, outputs);
    REQUIRE(taps.first.size() == static_cast<std::size_t>(outputs));
    REQUIRE(taps.weights.size() == static_cast<std::size_t>(outputs) * static_cast<std::size_t>(taps.count));
    double worst = 0;
    for (int o = 0; o < outputs; ++o) {
      // The unit is half an input pixel over `outputs`, so that the positions are exact integers.
      const std::int64_t center = (2 * std::int64_t{o} + 1) * inputs,
                         support = 2 * std::int64_t{std::max(inputs, outputs)};
      const auto weight = [&](std::int64_t i) {
        return static_cast<double>(std::max<std::int64_t>(support - std::abs((2 * i + 1) * outputs - center), 0));
      };
      double total = 0;
      for (int i = 0; i < inputs; ++i) total += weight(i);
      const int first = taps.first[static_cast<std::size_t>(o)];
      REQUIRE(first >= 0);
      REQUIRE(first + taps.count <= inputs);
      for (int i = 0; i < inputs; ++i) {
        const bool is_tap = i >= first && i < first + taps.count;
        const std::int32_t found = is_tap ? taps.weights[static_cast<std::size_t>(o * taps.count + i - first)] : 0;
        worst = std::max(worst, std::abs(found - one * weight(i) / total));
      }
    }
    CHECK(worst <= 0.5 + 1e-6);
    return taps.count;
  };
  // The centre of output 34 is that of an input pixel, and both its neighbours are at the ends of the triangle.
  CHECK(check(273, 299) == 2);
  CHECK(check(299, 273) == 3);
  for (int inputs = 1; inputs < 40; ++inputs) {
    for (int outputs = 1; outputs < 40; ++outputs) {
      const int count = check(inputs, outputs);
      if (outputs >= inputs) CHECK(count <= 2);
    }
  }
}

namespace {

using facet::data::Taps;

/// Weights of random inputs, which sum to one; of an output in four, the first or the last is all of it.
Taps random_taps(int inputs, int outputs, int count, std::uint32_t seed) {
  const std::int32_t one = 1 << facet::data::weight_bits;
  std::minstd_rand random(seed + 1);
  const auto below = [&](int end) { return static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(end)); };
  Taps taps{.count = count, .first = {}, .weights = {}};
  for (int o = 0; o < outputs; ++o) {
    taps.first.push_back(std::min(o * inputs / outputs, inputs - count));
    std::int32_t left = one;
    std::vector<std::int32_t> weights(static_cast<std::size_t>(count), 0);
    if (o % 4 == 0) {
      (o % 8 == 0 ? weights.front() : weights.back()) = one;
    } else {
      for (std::int32_t& weight : weights) left -= weight = below(left + 1);
      weights.back() += left;
    }
    taps.weights.insert(taps.weights.end(), weights.begin(), weights.end());
  }
  return taps;
}

/// The sum of inputs that lie `stride` bytes apart, by the weights of an output.
std::uint8_t summed(const std::uint8_t* in, std::size_t stride, const Taps& taps, std::size_t output) {
  std::int64_t sum = 1 << (facet::data::weight_bits - 1);
  for (std::size_t t = 0; t < static_cast<std::size_t>(taps.count); ++t) {
    sum += std::int64_t{taps.weights[output * static_cast<std::size_t>(taps.count) + t]} *
           in[(static_cast<std::size_t>(taps.first[output]) + t) * stride];
  }
  return static_cast<std::uint8_t>(sum >> facet::data::weight_bits);
}

}  // namespace

TEST_CASE("rows are resized and mixed as sums by weights of 22 bits, of any number of taps and outputs, on every CPU") {
  SUBCASE("the best ISA") {}
  SUBCASE("the portable one") { hwy::DisableTargets(-1); }
  constexpr std::size_t slack = facet::data::resize_slack;
  for (const bool extreme : {false, true}) {
    for (const int count : {1, 2, 3, 4, 5, 6, 7, 9}) {
      for (const int outputs : {1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 224, 300}) {
        for (const int inputs : {std::max(count, outputs * 2 / 3), std::max(count, outputs * 2)}) {
          CAPTURE(count);
          CAPTURE(outputs);
          CAPTURE(inputs);
          const Taps taps = random_taps(inputs, outputs, count, static_cast<std::uint32_t>(outputs));
          constexpr int rows = 3;
          const auto in = static_cast<std::size_t>(inputs), out = static_cast<std::size_t>(outputs);
          Bytes pixels = facet::noise(inputs, rows).pixels;
          if (extreme) {
            for (std::uint8_t& value : pixels) value = value < 128 ? 0 : 255;
          }
          pixels.resize(pixels.size() + slack, 0xAA);
          constexpr std::uint8_t untouched = 0x55;
          Bytes resized(out * 3 * rows + 1, untouched), expected = resized;
          facet::data::resize_rows(pixels.data(), std::ptrdiff_t{inputs} * 3, rows, taps, resized.data());
          for (std::size_t y = 0; y < rows; ++y) {
            for (std::size_t x = 0; x < out * 3; ++x) {
              expected[y * out * 3 + x] = summed(&pixels[y * in * 3 + x % 3], 3, taps, x / 3);
            }
          }
          CHECK(resized == expected);

          for (const int bytes : {1, 3, 31, 32, 33, 51, 672}) {  // in each of `inputs` rows
            const auto width = static_cast<std::size_t>(bytes);
            Bytes rows_in = facet::noise(bytes, (inputs + 2) / 3).pixels;
            if (extreme) {
              for (std::uint8_t& value : rows_in) value = value < 128 ? 0 : 255;
            }
            Bytes mixed(out * width + 1, untouched), sums = mixed;
            facet::data::mix_rows(rows_in.data(), bytes, bytes, taps, mixed.data());
            for (std::size_t y = 0; y < out; ++y) {
              for (std::size_t x = 0; x < width; ++x) sums[y * width + x] = summed(&rows_in[x], width, taps, y);
            }
            CHECK(mixed == sums);
          }
        }
      }
    }
  }
  hwy::DisableTargets(0);
}

TEST_CASE("an image of the requested size is copied, and a uniform colour is kept") {
  const Image image = facet::noise(9, 9);
  CHECK(resized(image, 9) == image.pixels);
  const Image flat{.width = 37, .height = 5, .pixels = Bytes(37 * 5 * 3, 201)};
  for (const int size : {1, 2, 7, 37, 64})
    CHECK(resized(flat, size) == Bytes(static_cast<std::size_t>(size * size * 3), 201));
}

TEST_CASE("one pixel can be resized to any size, and any size to one pixel") {
  const Image pixel{.width = 1, .height = 1, .pixels = {10, 20, 30}};
  const Bytes large = resized(pixel, 5);
  for (std::size_t i = 0; i < large.size(); ++i) CHECK(large[i] == pixel.pixels[i % 3]);
  const Image pair{.width = 2, .height = 1, .pixels = {0, 100, 7, 200, 100, 9}};
  CHECK(resized(pair, 1) == Bytes{100, 100, 8});
}

TEST_CASE("sizes that don't match are errors") {
  Bytes pixels(12);
  CHECK(facet::error_of([&] {
          facet::resize(facet::waves(4, 4), {3, 2}, ResizeMode::squash, pixels);
        }) == "the output buffer for 3x2 pixels has 12 bytes; height x width x 3 are needed");
  CHECK(facet::error_of([&] { facet::resize(facet::waves(4, 4), {1, 4}, ResizeMode::squash, pixels); }).empty());
  CHECK(!facet::error_of([&] { facet::resize(facet::waves(4, 4), {-1, -4}, ResizeMode::squash, pixels); }).empty());
  CHECK(!facet::error_of([&] { facet::resize(facet::waves(4, 4), 3, ResizeMode::squash, pixels); }).empty());
  CHECK(!facet::error_of([&] { facet::resize(facet::waves(4, 4), 0, ResizeMode::squash, {}); }).empty());
  for (const ResizeMode mode : {ResizeMode::squash, ResizeMode::crop}) {
    const Image short_of_bytes{.width = 2, .height = 2, .pixels = {1}};
    CHECK(!facet::error_of([&] { facet::resize(short_of_bytes, 2, mode, pixels); }).empty());
    CHECK(!facet::error_of([&] { facet::resize(Image{}, 2, mode, pixels); }).empty());
  }
}

TEST_CASE("the weights for a part of an axis are those for the whole axis") {
  for (const auto& [inputs, outputs] : {std::pair{50, 20}, {20, 50}, {273, 299}, {299, 273}, {3, 1000}, {1000, 3}}) {
    CAPTURE(inputs);
    CAPTURE(outputs);
    const auto whole = facet::data::triangle_taps(inputs, outputs, 0, outputs);
    const auto weight = [](const facet::data::Taps& taps, int output, int input) {
      const int at = input - taps.first[static_cast<std::size_t>(output)];
      return at < 0 || at >= taps.count ? 0 : taps.weights[static_cast<std::size_t>(output * taps.count + at)];
    };
    for (const auto& [first, count] : {std::pair{0, 1}, {outputs / 3, outputs / 2}, {outputs - 1, 1}}) {
      const auto part = facet::data::triangle_taps(inputs, outputs, first, count);
      REQUIRE(part.first.size() == static_cast<std::size_t>(count));
      int different = 0;
      for (int o = 0; o < count; ++o) {
        for (int i = 0; i < inputs; ++i) different += weight(part, o, i) == weight(whole, first + o, i) ? 0 : 1;
      }
      CHECK(different == 0);
    }
  }
}

TEST_CASE("a crop is the centre of the smallest image that covers floor(size / 0.875)") {
  struct Case {
    int width, height;
    ImageSize size;
    int resized_width, resized_height, left, top;  // by torchvision's arithmetic
  };
  const Case cases[] = {{50, 40, 14, 20, 16, 3, 1},
                        {40, 50, 14, 16, 20, 1, 3},
                        {9, 7, 28, 41, 32, 6, 2},
                        {33, 33, 21, 24, 24, 2, 2},
                        {8, 70, 7, 8, 70, 0, 32},
                        {70, 8, 7, 70, 8, 32, 0},
                        {61, 47, 13, 18, 14, 2, 0},
                        {5, 90, 12, 13, 234, 0, 111},
                        {1, 3, 7, 8, 24, 0, 8},
                        {24, 16, 14, 24, 16, 5, 1},
                        {1, 1, 1, 1, 1, 0, 0},
                        {64, 48, 6, 8, 6, 1, 0},
                        // Extents of 16 and 32 are covered: the height is met, then the width, then both.
                        {61, 23, {14, 28}, 42, 16, 7, 1},
                        {53, 41, {14, 28}, 32, 24, 2, 5},
                        {46, 23, {14, 28}, 32, 16, 2, 1},
                        {53, 41, {28, 14}, 41, 32, 14, 2},
                        {23, 61, {28, 14}, 16, 42, 1, 7},
                        {11, 41, {21, 7}, 8, 29, 0, 4}};
  for (const Case& each : cases) {
    CAPTURE(each.width);
    CAPTURE(each.height);
    const std::string size = to_string(each.size);
    CAPTURE(size);
    const Image image = facet::noise(each.width, each.height);
    const Image whole = resized_whole(image, each.resized_width, each.resized_height);
    const Bytes expected = cropped(whole, each.left, each.top, each.size);
    const Bytes found = resized(image, each.size, ResizeMode::crop);
    int worst = 0;
    for (std::size_t i = 0; i < found.size(); ++i) worst = std::max(worst, std::abs(found[i] - expected[i]));
    CHECK(worst <= 1);  // for a sum halfway between two levels
    CHECK(facet::mean_difference(found, expected) < 0.01);
  }
}

TEST_CASE("a crop starts at half of the excess, rounded half to even") {
  // 8 pixels is the resized side for a size of 7: nothing is filtered, and the crop is a copy.
  for (const auto& [width, left] : {std::pair{8, 0}, {9, 1}, {10, 2}, {11, 2}, {12, 2}, {13, 3}, {14, 4}, {15, 4}}) {
    CAPTURE(width);
    const Image across = facet::noise(width, 8), down = facet::noise(8, width);
    CHECK(resized(across, 7, ResizeMode::crop) == cropped(across, left, 0, 7));
    CHECK(resized(down, 7, ResizeMode::crop) == cropped(down, 0, left, 7));
  }
}

TEST_CASE("covered_size, and the names of the modes") {
  CHECK(facet::covered_size({224, 160}, ResizeMode::squash) == ImageSize(224, 160));
  CHECK(facet::covered_size({224, 160}, ResizeMode::crop) == ImageSize(256, 182));
  for (const auto& [size, side] : {std::pair{224, 256}, {96, 109}, {48, 54}, {7, 8}, {1, 1}, {299, 341}, {256, 292}}) {
    CHECK(facet::covered_size(size, ResizeMode::crop) == side);
    CHECK(side == static_cast<int>(size / 0.875));
  }
  CHECK(facet::covered_size(INT_MAX, ResizeMode::squash) == INT_MAX);
  for (const ImageSize size : {ImageSize(INT_MAX, 1), ImageSize(1, INT_MAX), ImageSize(0, 1), ImageSize(1, 0)}) {
    CHECK(facet::contains(facet::error_of([&] { facet::covered_size(size, ResizeMode::crop); }), to_string(size)));
  }
  for (const ResizeMode mode : {ResizeMode::squash, ResizeMode::crop}) {
    CHECK(facet::parse_resize_mode(facet::to_string(mode)) == mode);
  }
  CHECK(facet::error_of([] { facet::parse_resize_mode("pad"); }) ==
        "the resize mode is 'pad'; squash and crop are allowed");
}

TEST_CASE("a crop of a very long image takes little memory") {
  // If the whole image were resized, it would have 256 x 2,560,000 pixels, or 2 GB.
  const std::int64_t before = facet::peak_resident_memory();
  for (const auto& [width, height] : {std::pair{1, 10'000}, {10'000, 1}}) {
    const Image image{.width = width, .height = height, .pixels = Bytes(30'000, 77)};
    CHECK(resized(image, 224, ResizeMode::crop) == Bytes(224 * 224 * 3, 77));
  }
  CHECK(facet::peak_resident_memory() - before < 64'000'000);
}

TEST_CASE("an image's size has a text, with its height first") {
  CHECK(to_string(ImageSize(224, 160)) == "224x160");
  CHECK(to_string(ImageSize(96)) == "96x96");
  CHECK(facet::parse_image_size("224x160") == ImageSize(224, 160));
  CHECK(facet::parse_image_size("96") == ImageSize(96, 96));
  CHECK(facet::parse_image_size("1x16384") == ImageSize(1, facet::max_image_side));
  for (const char* text : {"",       "x",       "64x",     "x64",        "0",
                           "0x5",    "5x0",     "axb",     "64X48",      "64x48x3",
                           "64x-48", "+64",     "6 4",     " 64",        "64.0",
                           "16385",  "1x16385", "16385x1", "2147483648", "64x99999999999999999999"}) {
    const std::string needed =
        " is '" + std::string(text) + "'; a whole number from 1 to 16384, or HEIGHTxWIDTH of such numbers, is needed";
    CHECK(facet::error_of([&] { facet::parse_image_size(text); }) == "the image size" + needed);
    CHECK(facet::error_of([&] { facet::parse_image_size(text, "--size"); }) == "--size" + needed);
  }
}
