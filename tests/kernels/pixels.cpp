#include "kernels/pixels.h"

#include <doctest/doctest.h>

#include <array>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "each_cpu_isa.h"

using namespace facet;
using kernels::PixelBlocks;
using kernels::PixelStrides;

namespace {

constexpr std::array<float, 3> mean{0.485F, 0.456F, 0.406F};
constexpr std::array<float, 3> deviation{0.229F, 0.224F, 0.225F};

struct Size {
  std::int64_t images, height, width;
};

std::vector<std::uint8_t> random_pixels(const Size& size) {
  base::RandomStream random(9, base::Purpose::synthesis);
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(size.images * size.height * size.width * 3));
  for (std::uint8_t& pixel : pixels) pixel = static_cast<std::uint8_t>(random.below(256));
  return pixels;
}

/// Counts elements with wrong bits, including those between and beyond the image's, which must stay unchanged.
std::size_t count_wrong(const Size& size, const PixelStrides& strides, std::size_t elements) {
  const std::vector<std::uint8_t> pixels = random_pixels(size);
  std::vector<float> expected(elements + 1, 5.0F);
  std::size_t i = 0;
  for (std::int64_t n = 0; n < size.images; ++n) {
    for (std::int64_t y = 0; y < size.height; ++y) {
      for (std::int64_t x = 0; x < size.width; ++x) {
        for (std::int64_t c = 0; c < 3; ++c, ++i) {
          const auto channel = static_cast<std::size_t>(c);
          const std::int64_t element = n * strides.image + c * strides.channel + y * strides.row + x * strides.column;
          expected.at(static_cast<std::size_t>(element)) =
              (static_cast<float>(pixels[i]) / 255 - mean[channel]) / deviation[channel];
        }
      }
    }
  }
  std::vector<float> input(elements + 1, 5.0F);
  std::vector<std::uint16_t> input_bf16(elements + 1, nearest_bf16(5.0F));
  kernels::pixels_to_input(pixels.data(), size.images, size.height, size.width, mean, deviation, strides, input.data(),
                           nullptr);
  kernels::pixels_to_input(pixels.data(), size.images, size.height, size.width, mean, deviation, strides, nullptr,
                           input_bf16.data());
  std::size_t wrong = 0;
  for (std::size_t e = 0; e <= elements; ++e) {
    wrong += bits_of(input[e]) != bits_of(expected[e]) ? 1 : 0;
    wrong += input_bf16[e] != nearest_bf16(expected[e]) ? 1 : 0;
  }
  return wrong;
}

/// Counts elements with wrong bits in blocks, including one beyond the last, which must stay unchanged.
std::size_t count_wrong(const Size& size, const PixelBlocks& blocks) {
  const std::vector<std::uint8_t> pixels = random_pixels(size);
  std::vector<float> expected;
  for (std::int64_t row = 0; row < size.images * blocks.rows; ++row) {
    for (std::int64_t column = 0; column < blocks.columns; ++column) {
      for (std::int64_t i = 0; i < blocks.block_height * blocks.block_width; ++i) {
        const std::int64_t y = row % blocks.rows * blocks.block_height + i / blocks.block_width - blocks.top;
        const std::int64_t x = column * blocks.block_width + i % blocks.block_width - blocks.left;
        const bool inside = y >= 0 && y < size.height && x >= 0 && x < size.width;
        for (std::int64_t c = 0; c < 3; ++c) {
          const std::int64_t pixel = (row / blocks.rows * size.height + y) * size.width + x;
          const auto channel = static_cast<std::size_t>(c);
          const auto value = [&] { return static_cast<float>(pixels.at(static_cast<std::size_t>(3 * pixel + c))); };
          expected.push_back(inside ? (value() / 255 - mean[channel]) / deviation[channel] : 0);
        }
      }
    }
  }
  expected.push_back(5);
  std::vector<float> input(expected.size(), 5.0F);
  std::vector<std::uint16_t> input_bf16(expected.size(), nearest_bf16(5.0F));
  kernels::pixels_to_blocks(pixels.data(), size.images, size.height, size.width, mean, deviation, blocks, input.data(),
                            nullptr);
  kernels::pixels_to_blocks(pixels.data(), size.images, size.height, size.width, mean, deviation, blocks, nullptr,
                            input_bf16.data());
  std::size_t wrong = 0;
  for (std::size_t e = 0; e < expected.size(); ++e) {
    wrong += bits_of(input[e]) != bits_of(expected[e]) ? 1 : 0;
    wrong += input_bf16[e] != nearest_bf16(expected[e]) ? 1 : 0;
  }
  return wrong;
}

/// The strides of several layouts, and the number of elements that a batch takes in each.
std::vector<std::pair<PixelStrides, std::int64_t>> layouts(const Size& s) {
  const std::int64_t plane = s.height * s.width;
  return {
      {{3 * plane, 1, 3 * s.width, 3}, 3 * plane * s.images},                  // channels-last
      {{3 * plane, plane, s.width, 1}, 3 * plane * s.images},                  // planar
      {{3 * (plane + 5), plane + 5, s.width, 1}, 3 * (plane + 5) * s.images},  // planes apart
      {{(3 * s.width + 2) * s.height, 1, 3 * s.width + 2, 3}, (3 * s.width + 2) * s.height * s.images},  // rows apart
      {{16 * plane, 1, 16 * s.width, 16}, 16 * plane * s.images},                                        // nChw16c
      {{4 * plane, 1, 4 * s.width, 4}, 4 * plane * s.images},                        // four channels
      {{1, s.images, 3 * s.images, 3 * s.images * s.height}, 3 * plane * s.images},  // images innermost
  };
}

}  // namespace

TEST_CASE("pixels are converted to the same bits as PyTorch's, in any layout and for any width") {
  for_each_cpu_isa([&] {
    for (std::int64_t width = 1; width <= 100; ++width) {
      const Size size{2, 3, width};
      CAPTURE(width);
      for (const auto& [strides, elements] : layouts(size)) {
        CAPTURE(strides.column);
        CHECK(count_wrong(size, strides, static_cast<std::size_t>(elements)) == 0);
      }
    }
  });
}

TEST_CASE("pixels of large batches are converted on several threads") {
  for_each_cpu_isa([&] {
    for (const int threads : {1, 2, 3}) {
      const base::ComputeScope scope(threads);
      const Size size{3, 223, 225};
      for (const auto& [strides, elements] : layouts(size)) {
        CHECK(count_wrong(size, strides, static_cast<std::size_t>(elements)) == 0);
      }
    }
  });
}

TEST_CASE("pixels are converted to the same bits as PyTorch's in blocks of any size, with zeros around the image") {
  const Size size{2, 5, 9};
  for (std::int64_t height = 1; height <= 4; ++height) {
    for (std::int64_t width = 1; width <= 4; ++width) {
      for (std::int64_t before = 0; before < 4; ++before) {
        CAPTURE(height);
        CAPTURE(width);
        CAPTURE(before);
        CHECK(count_wrong(size, PixelBlocks{height, width, before % height, before % width, 1, 1}) == 0);
        CHECK(count_wrong(size, PixelBlocks{height, width, before % height, before % width, 2, 3}) == 0);
        CHECK(count_wrong(size, PixelBlocks{height, width, before % height, before % width, 8, 12}) == 0);
      }
    }
  }
}

TEST_CASE("pixels of large batches are converted to blocks on several threads") {
  for (const int threads : {1, 2, 3}) {
    const base::ComputeScope scope(threads);
    CHECK(count_wrong({3, 223, 225}, PixelBlocks{2, 2, 1, 1, 112, 113}) == 0);
  }
}

TEST_CASE("an empty batch writes nothing") {
  CHECK(count_wrong({0, 4, 4}, {48, 1, 12, 3}, 0) == 0);
  CHECK(count_wrong({0, 4, 4}, PixelBlocks{2, 2, 0, 0, 2, 2}) == 0);
}
