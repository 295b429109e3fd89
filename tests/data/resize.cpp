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
