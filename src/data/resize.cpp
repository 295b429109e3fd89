#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "data/resize_passes.h"
#include "facet/data.h"
#include "facet/error.h"

namespace facet {
namespace data {

Taps triangle_taps(int inputs, int outputs) {
  // The arithmetic of Pillow's Resample.c, in its order, so that the weights are the same to the last bit.
  const double scale = static_cast<double>(inputs) / outputs;
  const double support = std::max(scale, 1.0);
  const double shrink = 1.0 / support;
  Taps taps;
  taps.count = std::min(static_cast<int>(std::ceil(2 * support)), inputs);
  taps.first.reserve(static_cast<std::size_t>(outputs));
  taps.weights.resize(static_cast<std::size_t>(outputs) * static_cast<std::size_t>(taps.count));
  std::vector<double> weights;
  for (int o = 0; o < outputs; ++o) {
    const double center = (o + 0.5) * scale;
    const int begin = std::max(static_cast<int>(center - support + 0.5), 0);
    const int end = std::min(static_cast<int>(center + support + 0.5), inputs);
    weights.clear();
    double total = 0;
    for (int i = begin; i < end; ++i) {
      const double distance = std::abs((i - center + 0.5) * shrink);
      weights.push_back(std::max(1.0 - distance, 0.0));
      total += weights.back();
    }
    taps.first.push_back(std::min(begin, inputs - taps.count));
    std::int32_t* fixed = &taps.weights[static_cast<std::size_t>(o) * static_cast<std::size_t>(taps.count)];
    fixed += begin - taps.first.back();
    for (const double weight : weights) {
      *fixed++ = static_cast<std::int32_t>(0.5 + weight * (1.0 / total) * (1 << weight_bits));
    }
  }
  return taps;
}

namespace {

/// Rows of the image at the new width. The last row is resized from a copy: the pass reads a byte past its input.
void resize_width(const Image& image, int width, std::uint8_t* out) {
  const Taps taps = triangle_taps(image.width, width);
  const std::ptrdiff_t stride = std::ptrdiff_t{image.width} * 3;
  const std::uint8_t* in = image.pixels.data();
  resize_rows(in, stride, image.height - 1, taps, out);
  std::vector<std::uint8_t> last(static_cast<std::size_t>(stride) + 1);
  std::copy_n(in + stride * (image.height - 1), stride, last.begin());
  resize_rows(last.data(), stride, 1, taps, out + std::ptrdiff_t{width} * 3 * (image.height - 1));
}

void check(const Image& image, int size, std::span<std::uint8_t> pixels) {
  const auto bytes = [](int width, int height) {
    return static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3;
  };
  if (image.width < 1 || image.height < 1 || image.pixels.size() != bytes(image.width, image.height)) {
    throw Error(fmt::format("an image of {}x{} has {} bytes of pixels; width x height x 3 are needed", image.width,
                            image.height, image.pixels.size()));
  }
  if (size < 1 || pixels.size() != bytes(size, size)) {
    throw Error(fmt::format("{} bytes for an image of {}x{}; size x size x 3 are needed", pixels.size(), size, size));
  }
}

}  // namespace
}  // namespace data

void resize(const Image& image, int size, std::span<std::uint8_t> pixels) {
  data::check(image, size, pixels);
  const std::uint8_t* rows = image.pixels.data();
  if (image.height == size) {
    if (image.width == size) {
      std::copy(image.pixels.begin(), image.pixels.end(), pixels.begin());
    } else {
      data::resize_width(image, size, pixels.data());
    }
    return;
  }
  std::vector<std::uint8_t> narrowed;
  if (image.width != size) {
    narrowed.resize(static_cast<std::size_t>(image.height) * static_cast<std::size_t>(size) * 3);
    data::resize_width(image, size, narrowed.data());
    rows = narrowed.data();
  }
  data::mix_rows(rows, size * 3, data::triangle_taps(image.height, size), pixels.data());
}

}  // namespace facet
