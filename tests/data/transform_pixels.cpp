// The transforms of pixels, against their definitions.
#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <vector>

#include "data/make_jpeg.h"
#include "data/transforms/affine.h"
#include "data/transforms/blur.h"
#include "data/transforms/color.h"
#include "data/transforms/mirror.h"
#include "data/transforms/policy.h"

using facet::Bytes;
using facet::Image;
using facet::ImageSize;
using facet::Interpolation;
using namespace facet::data;

namespace {

using Rgb = std::array<float, 3>;

/// Widths that fill vectors, and ones that leave rests of any length, down to a single pixel.
const std::vector<ImageSize> sizes{{16, 32}, {9, 7}, {5, 13}, {1, 1},   {1, 2},
                                   {1, 3},   {3, 3}, {1, 17}, {33, 31}, {2, 224}};

Image noise(ImageSize size) { return facet::noise(size.width, size.height); }

/// Cuts off fractions. Sums are of floats, as in the definitions: it counts on which side of a whole number they fall.
std::uint8_t cut(float value) { return static_cast<std::uint8_t>(std::clamp(value, 0.0F, 255.0F)); }

std::uint8_t blended(float value, float other, float factor) { return cut(factor * value + (1 - factor) * other); }

float gray(const Rgb& in) { return std::floor(0.2989F * in[0] + 0.587F * in[1] + 0.114F * in[2]); }

Rgb pixel(const Image& image, std::size_t at) {
  return {float(image.pixels[3 * at]), float(image.pixels[3 * at + 1]), float(image.pixels[3 * at + 2])};
}

/// Turns the hue by way of hue, saturation and value.
Rgb turned(const Rgb& in, float turns) {
  const float high = std::ranges::max(in), range = high - std::ranges::min(in);
  float hue = 0;
  if (range > 0) {
    hue = high == in[0]   ? (in[1] - in[2]) / range
          : high == in[1] ? 2 + (in[2] - in[0]) / range
                          : 4 + (in[0] - in[1]) / range;
  }
  const float sixths = std::fmod(hue + 6 * turns + 12, 6.0F), rest = sixths - std::floor(sixths);
  const float low = high - range, falling = high - range * rest, rising = high - range * (1 - rest);
  switch (static_cast<int>(sixths)) {
    case 0:
      return {high, rising, low};
    case 1:
      return {falling, high, low};
    case 2:
      return {low, high, rising};
    case 3:
      return {low, falling, high};
    case 4:
      return {rising, low, high};
    default:
      return {high, low, falling};
  }
}

/// The steps one after the other, by their definitions.
Image changed(Image image, const std::vector<ColorStep>& steps) {
  const std::size_t count = image.pixels.size() / 3;
  for (const ColorStep& step : steps) {
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += double{gray(pixel(image, i))};
    const auto mean = static_cast<float>(sum / static_cast<double>(count));
    for (std::size_t i = 0; i < count; ++i) {
      const Rgb in = pixel(image, i), hue = turned(in, step.factor);
      const float other = step.change == ColorChange::contrast     ? mean
                          : step.change == ColorChange::saturation ? gray(in)
                                                                   : 0;
      for (std::size_t c = 0; c < 3; ++c) {
        image.pixels[3 * i + c] =
            step.change == ColorChange::hue ? cut(hue[c] * 255.999F / 255) : blended(in[c], other, step.factor);
      }
    }
  }
  return image;
}

/// The number of values that differ by more than `levels`.
std::ptrdiff_t different(const Bytes& a, const Bytes& b, int levels) {
  REQUIRE(a.size() == b.size());
  std::ptrdiff_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += std::abs(a[i] - b[i]) > levels ? 1 : 0;
  return count;
}

/// The value of a channel at a whole position; the fill colour outside of the image.
double value_at(const Image& image, int x, int y, std::size_t channel, const Color& fill) {
  if (x < 0 || y < 0 || x >= image.width || y >= image.height) return fill[channel];
  return image.pixels[static_cast<std::size_t>(y * image.width + x) * 3 + channel];
}

Image mapped(const Image& image, const InverseMap& map, const Color& fill) {
  Image out = image;
  for (int row = 0; row < image.height; ++row) {
    for (int column = 0; column < image.width; ++column) {
      const double x = map.a * column + map.b * row + map.c, y = map.d * column + map.e * row + map.f;
      const int left = static_cast<int>(std::floor(x)), top = static_cast<int>(std::floor(y));
      for (std::size_t c = 0; c < 3; ++c) {
        double sum = 0;
        for (const int down : {0, 1}) {
          for (const int right : {0, 1}) {
            sum += (1 - std::abs(x - left - right)) * (1 - std::abs(y - top - down)) *
                   value_at(image, left + right, top + down, c, fill);
          }
        }
        out.pixels[static_cast<std::size_t>(row * image.width + column) * 3 + c] =
            static_cast<std::uint8_t>(std::lround(sum));
      }
    }
  }
  return out;
}

Image transformed(Image image, const AffineMap& map, Interpolation interpolation, const Color& fill) {
  Scratch scratch;
  const ImageSize size(image.height, image.width);
  transform_affine(image.pixels, size, inverse_of(map, size), interpolation, fill, scratch);
  return image;
}

}  // namespace

TEST_CASE("changes of colours follow their definitions, alone and one after the other") {
  using enum ColorChange;
  const std::vector<std::vector<ColorStep>> all{
      {},
      {{brightness, 0}},
      {{brightness, 1.3F}},
      {{contrast, 0.4F}},
      {{contrast, 1.9F}},
      {{saturation, 0}},
      {{saturation, 1.6F}},
      {{hue, 0.25F}},
      {{hue, -0.47F}},
      {{hue, 0.1F}, {contrast, 1.2F}, {brightness, 0.9F}, {saturation, 0.7F}},
      {{contrast, 0.8F}, {saturation, 1.4F}, {hue, -0.05F}, {contrast, 1.1F}},
      {{brightness, 1.1F}, {saturation, 1.2F}, {hue, 0.4F}, {contrast, 0.6F}}};
  for (const ImageSize size : sizes) {
    for (const std::vector<ColorStep>& steps : all) {
      Image ours = noise(size);
      change_colors(ours.pixels, steps);
      const Bytes expected = changed(noise(size), steps).pixels;
      CHECK(different(ours.pixels, expected, 0) <= 2 + std::ssize(expected) / 4);
      CHECK(different(ours.pixels, expected, 1) <= (steps.size() > 1 ? 1 + std::ssize(expected) / 100 : 0));
      CHECK(different(ours.pixels, expected, 2) <= std::ssize(expected) / 1000);
    }
  }
  Image image = noise({9, 7}), unchanged = image;
  change_colors(image.pixels, std::vector<ColorStep>{{brightness, 1}, {contrast, 1}, {saturation, 1}, {hue, 0}});
  CHECK(different(image.pixels, unchanged.pixels, 0) == 0);
}

TEST_CASE("a pixel of equal values has torchvision's grey value, and others are within a level of it") {
  Image image{.width = 256, .height = 3, .pixels = noise({3, 256}).pixels};
  for (std::size_t i = 0; i < 768; ++i) image.pixels[i] = static_cast<std::uint8_t>(i / 3);
  const Image before = image;
  to_grayscale(image.pixels);
  std::size_t different = 0;
  for (std::size_t i = 0; i < image.pixels.size() / 3; ++i) {
    const Rgb values = pixel(image, i);
    const float difference = values[0] - gray(pixel(before, i));
    different += difference == 0 ? 0 : 1;
    CHECK(std::abs(difference) <= (i < 256 ? 0 : 1));
    CHECK(values == Rgb{values[0], values[0], values[0]});
  }
  CHECK(different <= 8);
}

TEST_CASE("changes of colours of extreme values and factors stay within 0 to 255") {
  using enum ColorChange;
  // All combinations of the ends of the range.
  Image image{.width = 27, .height = 1, .pixels = {}};
  for (int i = 0; i < 27; ++i) {
    for (const int digit : {i / 9, i / 3 % 3, i % 3}) {
      image.pixels.push_back(static_cast<std::uint8_t>(std::array{0, 1, 255}[static_cast<std::size_t>(digit)]));
    }
  }
  for (const ColorChange change : {brightness, contrast, saturation}) {
    for (const float factor : {0.0F, 0.5F, 1.0F, 1.9999F, 2.0F, 3.9999F, 4.0F, 11.0F, 127.0F}) {
      CAPTURE(factor);
      Image ours = image;
      change_colors(ours.pixels, std::vector<ColorStep>{{change, factor}});
      // A product is precise to a part of 2^14, and the sum of two to a level at least.
      CHECK(different(ours.pixels, changed(image, {{change, factor}}).pixels, factor < 16 ? 1 : 2) == 0);
    }
  }
  Image white = image;
  change_colors(white.pixels, std::vector<ColorStep>{{brightness, 1000}});
  for (std::size_t i = 0; i < image.pixels.size(); ++i) CHECK(white.pixels[i] == std::min(image.pixels[i] * 127, 255));
}

TEST_CASE("more steps than are applied at a time") {
  using enum ColorChange;
  const std::vector<ColorStep> steps{{brightness, 0.9F}, {saturation, 1.2F}, {brightness, 1.1F},
                                     {saturation, 0.8F}, {brightness, 0.7F}, {contrast, 1.1F}};
  Image ours = noise({9, 31});
  change_colors(ours.pixels, steps);
  CHECK(different(ours.pixels, changed(noise({9, 31}), steps).pixels, 2) == 0);
}

TEST_CASE("sharpness blends with the weighted mean of the neighbours, and leaves the border") {
  Scratch scratch;
  for (const ImageSize size : sizes) {
    for (const float factor : {0.0F, 0.3F, 1.0F, 1.8F}) {
      const Image before = noise(size);
      Image expected = before, ours = before;
      for (int y = 1; y < size.height - 1; ++y) {
        for (int x = 1; x < size.width - 1; ++x) {
          for (std::size_t c = 0; c < 3; ++c) {
            double sum = 4 * value_at(before, x, y, c, {});
            for (const int down : {-1, 0, 1}) {
              for (const int right : {-1, 0, 1}) sum += value_at(before, x + right, y + down, c, {});
            }
            expected.pixels[static_cast<std::size_t>(y * size.width + x) * 3 + c] = blended(
                static_cast<float>(value_at(before, x, y, c, {})), static_cast<float>(std::round(sum / 13)), factor);
          }
        }
      }
      change_sharpness(ours.pixels, size, factor, scratch);
      CHECK(ours.pixels == expected.pixels);
    }
  }
}

TEST_CASE("posterize, solarize, stretch_contrast and equalize change levels by their definitions") {
  Bytes levels(768);
  for (std::size_t i = 0; i < levels.size(); ++i) levels[i] = static_cast<std::uint8_t>(i / 3);
  for (const int bits : {0, 1, 3, 8}) {
    Bytes pixels = levels;
    posterize(pixels, bits);
    for (std::size_t i = 0; i < pixels.size(); ++i) CHECK(pixels[i] == levels[i] >> (8 - bits) << (8 - bits));
  }
  for (const float threshold : {0.0F, 100.5F, 255.0F}) {
    Bytes pixels = levels;
    solarize(pixels, threshold);
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      CHECK(pixels[i] == (levels[i] < static_cast<double>(threshold) ? levels[i] : 255 - levels[i]));
    }
  }
  // Channels of their own; one that has a single level stays.
  Bytes pixels{50, 7, 0, 100, 7, 255, 75, 7, 9};
  stretch_contrast(pixels);
  CHECK(pixels == Bytes{0, 7, 0, 255, 7, 255, 127, 7, 9});
  // 1020 values of three levels: 255 of 10, 510 of 20 and 255 of 30, so that a step is (1020 - 255) / 255 = 3 values.
  Bytes uneven;
  for (int i = 0; i < 1020; ++i) {
    const auto level = static_cast<std::uint8_t>(i < 255 ? 10 : i < 765 ? 20 : 30);
    uneven.insert(uneven.end(), {level, static_cast<std::uint8_t>(i % 256), 5});
  }
  equalize(uneven);
  for (std::size_t i = 0; i < 1020; ++i) {
    CHECK(uneven[3 * i] == (i < 255 ? 0 : i < 765 ? 85 : 255));
    CHECK(uneven[3 * i + 2] == 5);
  }
}

TEST_CASE("the blur is the normal distribution's mean over the mirrored image") {
  Scratch scratch;
  for (const ImageSize size :
       {ImageSize(16, 32), ImageSize(9, 7), ImageSize(1, 1), ImageSize(2, 40), ImageSize(33, 31)}) {
    for (const double sigma : {0.1, 0.7, 2.0, 5.0}) {
      const Image before = noise(size);
      Image ours = before;
      gaussian_blur(ours.pixels, size, sigma, scratch);
      const int radius = blur_radius(sigma, size);
      CHECK(radius <= std::ceil(3 * sigma));
      const auto mirrored = [](int at, int end) { return at < 0 ? -at : at < end ? at : 2 * (end - 1) - at; };
      double total = 0;
      for (int i = -radius; i <= radius; ++i) total += std::exp(-0.5 * i * i / (sigma * sigma));
      Image expected = before;
      for (int y = 0; y < size.height; ++y) {
        for (int x = 0; x < size.width; ++x) {
          for (std::size_t c = 0; c < 3; ++c) {
            double sum = 0;
            for (int i = -radius; i <= radius; ++i) {
              for (int j = -radius; j <= radius; ++j) {
                sum += std::exp(-0.5 * (i * i + j * j) / (sigma * sigma)) *
                       value_at(before, mirrored(x + j, size.width), mirrored(y + i, size.height), c, {});
              }
            }
            expected.pixels[static_cast<std::size_t>(y * size.width + x) * 3 + c] =
                static_cast<std::uint8_t>(std::lround(sum / (total * total)));
          }
        }
      }
      CHECK(different(ours.pixels, expected.pixels, 1) == 0);
    }
  }
}

TEST_CASE("an affine map interpolates with the colour around the image") {
  const Color fill{10, 200, 90};
  const std::vector<AffineMap> maps{{},
                                    {.degrees = 30},
                                    {.degrees = -117, .right = 3.5, .down = -2.25},
                                    {.scale = 1.7, .shear_x = 20},
                                    {.degrees = 10, .scale = 0.4, .shear_x = -9, .shear_y = 14},
                                    {.right = 1000},
                                    {.shear_y = 40, .center_x = -8, .center_y = -4}};
  for (const ImageSize size : sizes) {
    for (const AffineMap& map : maps) {
      const Image expected = mapped(noise(size), inverse_of(map, size), fill);
      const Image ours = transformed(noise(size), map, Interpolation::bilinear, fill);
      CHECK(different(ours.pixels, expected.pixels, 1) == 0);
    }
  }
}

TEST_CASE("an affine map turns, moves, scales and shears in the directions that it names") {
  const auto at = [](const Image& image, int x, int y) { return value_at(image, x, y, 0, {}); };
  const Image image = facet::noise(9, 9);
  for (const Interpolation interpolation : {Interpolation::nearest, Interpolation::bilinear}) {
    const Image quarter = transformed(image, {.degrees = 90}, interpolation, {});
    const Image moved = transformed(image, {.right = 2, .down = -1}, interpolation, {});
    const Image larger = transformed(image, {.scale = 2}, interpolation, {});
    const Image sheared = transformed(image, {.shear_x = 45}, interpolation, {});
    for (int y = 0; y < 9; ++y) {
      for (int x = 0; x < 9; ++x) {
        CHECK(at(quarter, 8 - y, x) == at(image, x, y));  // clockwise: the top row becomes the right column
        CHECK(at(moved, x, y) == at(image, x - 2, y + 1));
        if (x % 2 == 0 && y % 2 == 0) CHECK(at(larger, x, y) == at(image, 2 + x / 2, 2 + y / 2));
        CHECK(at(sheared, x, y) == at(image, x + (y - 4), y));  // rows below the centre move to the left
      }
    }
  }
}

TEST_CASE("transforms give the same pixels on CPUs of every ISA") {
  const ImageSize size(37, 45);
  std::vector<Bytes> first;
  for (const bool is_portable : {false, true}) {
    if (is_portable) hwy::DisableTargets(-1);
    std::vector<Bytes> all;
    Scratch scratch;
    const auto add = [&](const auto& transform) {
      Image image = noise(size);
      transform(image.pixels);
      all.push_back(std::move(image.pixels));
    };
    using enum ColorChange;
    add([&](Bytes& pixels) {
      change_colors(pixels,
                    std::vector<ColorStep>{{hue, 0.13F}, {contrast, 1.3F}, {saturation, 0.7F}, {brightness, 1.1F}});
    });
    for (const float factor : {3.0F, 11.0F, 100.0F}) {  // computed with fewer fractional bits
      add([&](Bytes& pixels) {
        change_colors(pixels, std::vector<ColorStep>{{contrast, factor}, {saturation, factor}, {brightness, factor}});
      });
    }
    add([&](Bytes& pixels) { change_sharpness(pixels, size, 1.7F, scratch); });
    add([&](Bytes& pixels) { gaussian_blur(pixels, size, 1.3, scratch); });
    const InverseMap map = inverse_of({.degrees = 23, .scale = 1.1}, size);
    for (const Interpolation interpolation : {Interpolation::nearest, Interpolation::bilinear}) {
      add([&](Bytes& pixels) { transform_affine(pixels, size, map, interpolation, {1, 2, 3}, scratch); });
    }
    hwy::DisableTargets(0);
    if (!is_portable)
      first = std::move(all);
    else
      CHECK(all == first);
  }
}

TEST_CASE("RandAugment and TrivialAugment draw every operation, with the magnitudes of torchvision") {
  std::array<std::array<int, 2>, operations> rand{}, trivial{};  // by operation and sign
  for (std::uint64_t image = 0; image < 4000; ++image) {
    facet::base::RandomStream draws(5, facet::base::Purpose::augmentation, 0, image);
    const PolicyStep step = draw_rand_augment(draws, 9, {100, 331});
    const PolicyStep wide = draw_trivial_augment(draws);
    ++rand[static_cast<std::size_t>(step.operation)][step.magnitude < 0];
    ++trivial[static_cast<std::size_t>(wide.operation)][wide.magnitude < 0];
    // linspace(low, high, 31)[9]
    constexpr std::array<double, operations> expected{
        0, 0.09, 0.09, 45, 150.0 / 331 * 100 * 0.3, 9, 0.27, 0.27, 0.27, 0.27, 7, 178.5, 0, 0};
    CHECK(std::abs(step.magnitude) == doctest::Approx(expected[static_cast<std::size_t>(step.operation)]));
    constexpr std::array<double, operations> highest{0, 0.99, 0.99, 32, 32, 135, 0.99, 0.99, 0.99, 0.99, 8, 255, 0, 0};
    CHECK(std::abs(wide.magnitude) <= highest[static_cast<std::size_t>(wide.operation)]);
    if (wide.operation == Operation::posterize) {
      CHECK(wide.magnitude >= 2);
      CHECK(wide.magnitude == std::floor(wide.magnitude));
    }
  }
  for (std::size_t i = 0; i < operations; ++i) {
    CAPTURE(i);
    for (const auto* counts : {&rand, &trivial}) {
      const auto [positive, negative] = (*counts)[i];
      CHECK(positive + negative > 180);
      CHECK(positive + negative < 400);
      const bool is_signed = i >= 1 && i <= 9;
      CHECK((negative > 0) == is_signed);
      if (is_signed) CHECK(std::abs(positive - negative) < 100);
    }
  }
}

TEST_CASE("mirroring reverses the pixels of each row") {
  for (int width = 1; width <= 100; ++width) {
    const Image before = facet::noise(width, 3);
    Image after = before;
    mirror(after.pixels, width);
    for (int y = 0; y < 3; ++y) {
      for (int x = 0; x < width; ++x) {
        for (std::size_t c = 0; c < 3; ++c) {
          CHECK(value_at(after, x, y, c, {}) == value_at(before, width - 1 - x, y, c, {}));
        }
      }
    }
  }
}
