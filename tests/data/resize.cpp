#include <doctest/doctest.h>

#include <numeric>

#include "data/make_jpeg.h"
#include "data/mirror.h"
#include "data/resize_passes.h"
#include "facet/data.h"

using facet::Bytes;
using facet::Image;

namespace {

Bytes resized(const Image& image, int size) {
  Bytes pixels(static_cast<std::size_t>(size * size * 3));
  facet::resize(image, size, pixels);
  return pixels;
}

}  // namespace

TEST_CASE("the taps of an enlargement are the two nearest pixels, of a reduction the triangle") {
  using Weights = std::vector<std::int32_t>;
  const std::int32_t one = 1 << facet::data::weight_bits;
  const auto twice = facet::data::triangle_taps(2, 4);
  CHECK(twice.count == 2);
  CHECK(twice.first == std::vector<int>{0, 0, 0, 0});
  CHECK(twice.weights == Weights{one, 0, one * 3 / 4, one / 4, one / 4, one * 3 / 4, 0, one});

  const auto half = facet::data::triangle_taps(8, 4);
  CHECK(half.count == 4);
  CHECK(half.first == std::vector<int>{0, 1, 3, 4});
  CHECK(std::equal(half.weights.begin() + 4, half.weights.begin() + 8,
                   Weights{one / 8, one * 3 / 8, one * 3 / 8, one / 8}.begin()));
  for (std::size_t o = 0; o < 4; ++o) {
    CHECK(std::abs(std::accumulate(&half.weights[4 * o], &half.weights[4 * o] + 4, 0) - one) <= 2);
  }
}

TEST_CASE("the taps are the triangle's own, whatever rounding makes of its ends") {
  const double one = 1 << facet::data::weight_bits;
  const auto check = [&](int inputs, int outputs) {
    CAPTURE(inputs);
    CAPTURE(outputs);
    const auto taps = facet::data::triangle_taps(inputs, outputs);
    REQUIRE(taps.first.size() == static_cast<std::size_t>(outputs));
    REQUIRE(taps.weights.size() == static_cast<std::size_t>(outputs) * static_cast<std::size_t>(taps.count));
    double worst = 0;
    for (int o = 0; o < outputs; ++o) {
      // In units of half an input pixel over `outputs`: exact.
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
  // Output 34's centre is a pixel's, and both neighbours lie at the triangle's feet.
  CHECK(check(273, 299) == 2);
  CHECK(check(299, 273) == 3);
  for (int inputs = 1; inputs < 40; ++inputs) {
    for (int outputs = 1; outputs < 40; ++outputs) {
      const int count = check(inputs, outputs);
      if (outputs >= inputs) CHECK(count <= 2);
    }
  }
}

TEST_CASE("an image of the size is copied, one colour stays one colour") {
  const Image image = facet::noise(9, 9);
  CHECK(resized(image, 9) == image.pixels);
  const Image flat{.width = 37, .height = 5, .pixels = Bytes(37 * 5 * 3, 201)};
  for (const int size : {1, 2, 7, 37, 64})
    CHECK(resized(flat, size) == Bytes(static_cast<std::size_t>(size * size * 3), 201));
}

TEST_CASE("one pixel becomes any size, any size one pixel") {
  const Image pixel{.width = 1, .height = 1, .pixels = {10, 20, 30}};
  const Bytes large = resized(pixel, 5);
  for (std::size_t i = 0; i < large.size(); ++i) CHECK(large[i] == pixel.pixels[i % 3]);
  const Image pair{.width = 2, .height = 1, .pixels = {0, 100, 7, 200, 100, 9}};
  CHECK(resized(pair, 1) == Bytes{100, 100, 8});
}

TEST_CASE("sizes that don't fit are errors") {
  Bytes pixels(12);
  CHECK(!facet::error_of([&] { facet::resize(facet::waves(4, 4), 3, pixels); }).empty());
  CHECK(!facet::error_of([&] { facet::resize(facet::waves(4, 4), 0, {}); }).empty());
  CHECK(!facet::error_of([&] { facet::resize(Image{.width = 2, .height = 2, .pixels = {1}}, 2, pixels); }).empty());
  CHECK(!facet::error_of([&] { facet::resize(Image{}, 2, pixels); }).empty());
}

TEST_CASE("a mirrored image has its rows from right to left") {
  for (const int size : {1, 2, 5, 8, 33}) {
    const Image image = facet::noise(size, size);
    Bytes mirrored = image.pixels;
    facet::data::mirror(mirrored, size);
    for (int y = 0; y < size; ++y) {
      for (int x = 0; x < size; ++x) {
        for (int c = 0; c < 3; ++c) {
          REQUIRE(mirrored[static_cast<std::size_t>(3 * (y * size + x) + c)] ==
                  image.pixels[static_cast<std::size_t>(3 * (y * size + size - 1 - x) + c)]);
        }
      }
    }
  }
}
