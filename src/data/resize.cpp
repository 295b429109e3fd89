#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "data/resize_passes.h"
#include "facet/data.h"
#include "facet/error.h"

namespace facet {
namespace data {

namespace {

/// The weights of outputs, each as many as it has.
class Weights {
 public:
  /// Adds an output. Inputs at its ends whose weight rounds to nothing are left out: where the triangle's foot meets a
  /// pixel's centre, rounding decides whether that one belongs to it.
  void add(int begin, const std::vector<double>& weights, double total) {
    Output output{begin, 0, fixed_.size()};
    for (const double weight : weights) {
      const auto fixed = static_cast<std::int32_t>(0.5 + weight * (1.0 / total) * (1 << weight_bits));
      if (fixed == 0 && output.count == 0) {
        ++output.first;
      } else {
        fixed_.push_back(fixed);
        ++output.count;
      }
    }
    for (; fixed_.back() == 0; fixed_.pop_back()) --output.count;
    outputs_.push_back(output);
  }

  /// With zeros, so that each output has as many as the one that has most.
  Taps taps(int inputs) const {
    Taps taps;
    for (const Output& output : outputs_) taps.count = std::max(taps.count, output.count);
    const auto count = static_cast<std::size_t>(taps.count);
    taps.weights.resize(outputs_.size() * count);
    for (std::size_t o = 0; o < outputs_.size(); ++o) {
      const Output& output = outputs_[o];
      taps.first.push_back(std::min(output.first, inputs - taps.count));
      std::copy_n(fixed_.begin() + static_cast<std::ptrdiff_t>(output.at), output.count,
                  taps.weights.begin() + static_cast<std::ptrdiff_t>(o * count) + output.first - taps.first[o]);
    }
    return taps;
  }

 private:
  struct Output {
    int first;       // input
    int count;       // of its weights
    std::size_t at;  // in fixed_
  };
  std::vector<Output> outputs_;
  std::vector<std::int32_t> fixed_;
};

}  // namespace

Taps triangle_taps(int inputs, int outputs) {
  // The arithmetic of Pillow's Resample.c, in its order, so that the weights are the same to the last bit.
  const double scale = static_cast<double>(inputs) / outputs;
  const double support = std::max(scale, 1.0);
  const double shrink = 1.0 / support;
  Weights all;
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
    all.add(begin, weights, total);
  }
  return all.taps(inputs);
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
