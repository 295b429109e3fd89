#include "kernels/amx_backward_weights.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "each_cpu_isa.h"

using namespace facet;
using Shape = kernels::AmxConvolutionShape;

namespace {

Shape shape(std::int64_t images, std::int64_t in_channels, std::int64_t height, std::int64_t width,
            std::int64_t out_channels, std::int64_t kernel, std::int64_t padding) {
  const std::int64_t more = 2 * padding + 1 - kernel;
  return {images, in_channels, height, width, out_channels, height + more, width + more, kernel, padding, 2};
}

const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all{
      shape(1, 1, 1, 1, 1, 3, 1),     shape(2, 16, 8, 8, 16, 3, 1),    shape(3, 17, 7, 9, 33, 3, 1),
      shape(1, 70, 5, 13, 130, 3, 2), shape(2, 3, 11, 12, 5, 3, 0),    shape(5, 32, 28, 28, 64, 3, 1),
      shape(2, 12, 13, 14, 64, 4, 0), shape(1, 64, 60, 61, 32, 5, 2),  shape(2, 8, 6, 7, 8, 3, 3),
      shape(3, 24, 6, 6, 40, 1, 0),   shape(1, 6, 1, 40, 18, 3, 1),    shape(9, 40, 5, 5, 16, 3, 1),
      shape(1, 64, 2, 300, 64, 3, 1), shape(1, 256, 70, 30, 48, 3, 1), shape(1, 256, 2, 1000, 48, 3, 1),
      shape(2, 8, 6, 7, 8, 3, 4),     shape(3, 17, 9, 9, 100, 3, 1),
  };
  return all;
}

struct Case {
  Shape shape;
  std::vector<std::uint16_t> src, diff_dst;

  explicit Case(const Shape& s)
      : shape(s),
        src(static_cast<std::size_t>(s.images * s.in_height * s.in_width * s.in_channels)),
        diff_dst(static_cast<std::size_t>(s.images * s.out_height * s.out_width * s.out_channels)) {
    base::RandomStream random(7, base::Purpose::synthesis);
    for (auto* values : {&src, &diff_dst}) {
      for (auto& value : *values) value = nearest_bf16(random.normal());
    }
  }

  std::vector<float> computed() const {
    std::vector<float> scratch(kernels::amx_backward_weights_scratch(shape), NAN);
    std::vector<float> weights(shape.out_channels * shape.in_channels * shape.kernel * shape.kernel, NAN);
    kernels::amx_backward_weights(shape, src.data(), diff_dst.data(), weights.data(), scratch.data());
    return weights;
  }

  /// The definition, in double.
  std::vector<double> defined() const {
    const Shape& s = shape;
    const std::int64_t taps = s.kernel * s.kernel;
    std::vector<double> weights(s.out_channels * s.in_channels * taps);
    for (std::int64_t n = 0; n < s.images; ++n) {
      for (std::int64_t y = 0; y < s.out_height; ++y) {
        for (std::int64_t x = 0; x < s.out_width; ++x) {
          const std::uint16_t* to = &diff_dst[((n * s.out_height + y) * s.out_width + x) * s.out_channels];
          for (std::int64_t tap = 0; tap < taps; ++tap) {
            const std::int64_t from_y = y - s.padding + tap / s.kernel;
            const std::int64_t from_x = x - s.padding + tap % s.kernel;
            if (from_y < 0 || from_y >= s.in_height || from_x < 0 || from_x >= s.in_width) continue;
            const std::uint16_t* from = &src[((n * s.in_height + from_y) * s.in_width + from_x) * s.in_channels];
            for (std::int64_t out = 0; out < s.out_channels; ++out) {
              const double gradient = float_of_bf16(to[out]);
              double* sums = &weights[out * s.in_channels * taps + tap];
              for (std::int64_t in = 0; in < s.in_channels; ++in) sums[in * taps] += gradient * float_of_bf16(from[in]);
            }
          }
        }
      }
    }
    return weights;
  }
};

}  // namespace

TEST_CASE(
    "amx: backward weights agree with direct sums in double, with the same bits for any number of running threads") {
  if (!kernels::has_amx_bf16()) {
    MESSAGE("skipped: no AMX here");
    return;
  }
  for (const Shape& s : shapes()) {
    CAPTURE(s.in_channels);
    CAPTURE(s.in_height);
    CAPTURE(s.in_width);
    CAPTURE(s.out_channels);
    CAPTURE(s.kernel);
    CAPTURE(s.padding);
    Case c(s);
    const std::vector<double> expected = c.defined();
    double total = 0;
    for (const double value : expected) total += value * value;
    const double mean = std::sqrt(total / static_cast<double>(expected.size()));
    for (const int threads : {1, 2, 5, 13}) {
      CAPTURE(threads);
      c.shape.threads = threads;
      const std::vector<float> found = c.computed();
      double largest = 0;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const double difference = std::abs(found[i] - expected[i]);
        largest = std::isfinite(difference) ? std::max(largest, difference) : INFINITY;
      }
      CHECK(largest < 1e-5 * mean);  // products of bf16 are exact in f32; only sums are rounded
      const base::ComputeScope scope(3);
      CHECK(c.computed() == found);
    }
  }
}

TEST_CASE("amx: the limit of the CPU ISA applies") {
  kernels::set_max_cpu_isa("avx512_bf16");
  CHECK(!kernels::has_amx_bf16());
  kernels::set_max_cpu_isa("");
}
