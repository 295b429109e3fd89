#include "kernels/winograd.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "instructions.h"

using namespace facet;
using kernels::Winograd;
using kernels::WinogradProducts;
using kernels::WinogradShape;
using kernels::WinogradWeights;

namespace {

/// Calls body(image, out channel, in channel, tap, out pixel, in pixel) for each product of the convolution.
template <class Body>
void for_each_product(const WinogradShape& s, const Body& body) {
  for (std::int64_t n = 0; n < s.images; ++n) {
    for (std::int64_t y = 0; y < s.out_height; ++y) {
      for (std::int64_t x = 0; x < s.out_width; ++x) {
        for (int tap = 0; tap < 9; ++tap) {
          const std::int64_t from_y = y - s.padding + tap / 3;
          const std::int64_t from_x = x - s.padding + tap % 3;
          if (from_y < 0 || from_y >= s.in_height || from_x < 0 || from_x >= s.in_width) continue;
          body(((n * s.out_height + y) * s.out_width + x) * s.out_channels,
               ((n * s.in_height + from_y) * s.in_width + from_x) * s.in_channels, tap);
        }
      }
    }
  }
}

std::size_t weight_index(const WinogradShape& s, std::int64_t out, std::int64_t in, int tap) {
  return static_cast<std::size_t>((out * s.in_channels + in) * 9 + tap);
}

/// Sums of products in double.
struct Direct {
  std::vector<double> dst, diff_src, diff_weights;
};

struct Case {
  WinogradShape shape;
  std::vector<float> src, weights, diff_dst;

  explicit Case(const WinogradShape& s)
      : shape(s),
        src(s.images * s.in_height * s.in_width * s.in_channels),
        weights(s.out_channels * s.in_channels * 9),
        diff_dst(s.images * s.out_height * s.out_width * s.out_channels) {
    base::RandomStream random(7, base::Purpose::synthesis);
    for (auto* values : {&src, &weights, &diff_dst}) {
      // Exactly representable in bf16, so that all types compute the same.
      for (float& value : *values) value = float_of_bf16(nearest_bf16(random.normal()));
    }
  }

  Direct direct() const {
    Direct d{std::vector<double>(diff_dst.size()), std::vector<double>(src.size()),
             std::vector<double>(weights.size())};
    for_each_product(shape, [&](std::int64_t to, std::int64_t from, int tap) {
      for (std::int64_t out = 0; out < shape.out_channels; ++out) {
        for (std::int64_t in = 0; in < shape.in_channels; ++in) {
          const std::size_t w = weight_index(shape, out, in, tap);
          d.dst[to + out] += static_cast<double>(src[from + in]) * weights[w];
          d.diff_src[from + in] += static_cast<double>(diff_dst[to + out]) * weights[w];
          d.diff_weights[w] += static_cast<double>(src[from + in]) * diff_dst[to + out];
        }
      }
    });
    return d;
  }
};

WinogradShape shape(std::int64_t images, std::int64_t in_channels, std::int64_t height, std::int64_t width,
                    std::int64_t out_channels, std::int64_t padding) {
  return {images, in_channels, height, width, out_channels, height + 2 * padding - 2, width + 2 * padding - 2, padding};
}

std::vector<float> forward(const Winograd& w, const WinogradShape& s, const std::vector<float>& src,
                           const std::vector<float>& weights, WinogradWeights direction) {
  std::vector<float> transformed(w.weights_size(s.in_channels, s.out_channels), NAN);
  w.transform_weights(weights.data(), s.in_channels, s.out_channels, direction, transformed.data());
  std::vector<float> scratch(w.forward_scratch(s), NAN);
  std::vector<float> dst(s.images * s.out_height * s.out_width * s.out_channels, NAN);
  w.forward(s, src.data(), transformed.data(), {}, dst.data(), scratch.data());
  return dst;
}

std::vector<float> backward_weights(const Winograd& w, const WinogradShape& s, const std::vector<float>& src,
                                    const std::vector<float>& diff_dst) {
  std::vector<float> scratch(w.backward_weights_scratch(s), NAN);
  std::vector<float> diff_weights(s.out_channels * s.in_channels * 9, NAN);
  w.backward_weights(s, src.data(), diff_dst.data(), diff_weights.data(), scratch.data());
  return diff_weights;
}

/// Root mean square of the difference as a share of that of what is right; infinite where a number is none.
template <class T>
double error(const std::vector<T>& found, const std::vector<double>& right, const std::function<float(T)>& value) {
  double difference = 0;
  double total = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    const double d = static_cast<double>(value(found[i])) - right[i];
    if (!std::isfinite(d)) return INFINITY;
    difference += d * d;
    total += right[i] * right[i];
  }
  return total > 0 ? std::sqrt(difference / total) : std::sqrt(difference);
}

double error(const std::vector<float>& found, const std::vector<double>& right) {
  return error<float>(found, right, [](float v) { return v; });
}

std::vector<std::uint16_t> as_bf16(const std::vector<float>& values) {
  std::vector<std::uint16_t> result;
  for (const float value : values) result.push_back(nearest_bf16(value));
  return result;
}

const std::vector<WinogradShape>& shapes() {
  static const std::vector<WinogradShape> all{
      shape(1, 1, 3, 3, 1, 0),     shape(1, 1, 1, 1, 1, 1),     shape(2, 3, 4, 4, 5, 1),     shape(2, 16, 8, 8, 16, 1),
      shape(1, 17, 7, 9, 33, 1),   shape(3, 64, 14, 14, 64, 1), shape(1, 70, 5, 13, 130, 2), shape(2, 8, 6, 11, 24, 0),
      shape(1, 20, 10, 10, 12, 3), shape(5, 32, 28, 12, 40, 1), shape(1, 256, 4, 4, 200, 1),
  };
  return all;
}

/// Calls body for each instruction set and each kind of products that it has.
template <class Body>
void for_each_winograd(const Body& body) {
  for_each_instruction_set([&] {
    for (const auto products : {WinogradProducts::f32, WinogradProducts::bf16}) {
      if (!kernels::has_winograd(products)) continue;
      const bool bf16 = products == WinogradProducts::bf16;
      CAPTURE(bf16);
      body(kernels::winograd_kernels(products), products);
    }
  });
}

// Found with 256 channels: 1.7e-6 of the output's root mean square in f32. In bf16 the transformed numbers are rounded
// to 8 bits.
double bound(WinogradProducts products) { return products == WinogradProducts::f32 ? 2e-6 : 1.5e-2; }

}  // namespace

TEST_CASE("winograd: forward, backward data and backward weights agree with direct sums in double") {
  for_each_winograd([&](const Winograd& w, WinogradProducts products) {
    for (const int threads : {1, 2, 5}) {
      const base::ComputeScope scope(threads);
      for (const WinogradShape& s : shapes()) {
        const Case c(s);
        const Direct right = c.direct();
        CAPTURE(threads);
        CAPTURE(s.in_channels);
        CAPTURE(s.in_height);
        CAPTURE(s.padding);
        CHECK(error(forward(w, s, c.src, c.weights, WinogradWeights::forward), right.dst) < bound(products));
        CHECK(error(forward(w, s.backward_data(), c.diff_dst, c.weights, WinogradWeights::backward_data),
                    right.diff_src) < bound(products));
        CHECK(error(backward_weights(w, s, c.src, c.diff_dst), right.diff_weights) < bound(products));
      }
    }
  });
}

TEST_CASE("winograd: bias, residual and ReLU are what is done to the outputs") {
  for_each_winograd([&](const Winograd& w, WinogradProducts) {
    const base::ComputeScope scope(2);
    for (const WinogradShape& s : shapes()) {
      const Case c(s);
      std::vector<float> expected = forward(w, s, c.src, c.weights, WinogradWeights::forward);
      std::vector<float> transformed(w.weights_size(s.in_channels, s.out_channels));
      w.transform_weights(c.weights.data(), s.in_channels, s.out_channels, WinogradWeights::forward,
                          transformed.data());
      std::vector<float> scratch(w.forward_scratch(s)), dst(expected.size(), NAN);
      const std::vector<float> bias(c.weights.begin(), c.weights.begin() + s.out_channels);
      w.forward(s, c.src.data(), transformed.data(), {bias.data(), c.diff_dst.data(), true}, dst.data(),
                scratch.data());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        expected[i] = std::max(expected[i] + bias[i % bias.size()] + c.diff_dst[i], 0.0F);
      }
      CHECK(dst == expected);
    }
  });
}

TEST_CASE("winograd: activations in bf16 are rounded once, where they are written") {
  for_each_winograd([&](const Winograd& w, WinogradProducts) {
    const base::ComputeScope scope(2);
    for (const WinogradShape& s : shapes()) {
      const Case c(s);
      const std::vector<std::uint16_t> src = as_bf16(c.src);
      const std::vector<std::uint16_t> diff_dst = as_bf16(c.diff_dst);
      std::vector<float> transformed(w.weights_size(s.in_channels, s.out_channels));
      w.transform_weights(c.weights.data(), s.in_channels, s.out_channels, WinogradWeights::forward,
                          transformed.data());
      std::vector<float> scratch(w.forward_scratch(s), NAN);
      std::vector<std::uint16_t> dst(c.diff_dst.size(), 0x7fc0);
      w.forward_bf16(s, src.data(), transformed.data(), {}, dst.data(), scratch.data());
      CHECK(dst == as_bf16(forward(w, s, c.src, c.weights, WinogradWeights::forward)));

      scratch.assign(w.backward_weights_scratch(s), NAN);
      std::vector<float> diff_weights(c.weights.size(), NAN);
      w.backward_weights_bf16(s, src.data(), diff_dst.data(), diff_weights.data(), scratch.data());
      CHECK(diff_weights == backward_weights(w, s, c.src, c.diff_dst));
    }
  });
}

TEST_CASE("winograd: forward gives the same bits for any number of threads") {
  for_each_winograd([&](const Winograd& w, WinogradProducts) {
    const WinogradShape s = shape(2, 24, 13, 10, 40, 1);
    const Case c(s);
    std::vector<float> alone;
    for (const int threads : {1, 2, 3, 7}) {
      const base::ComputeScope scope(threads);
      const std::vector<float> dst = forward(w, s, c.src, c.weights, WinogradWeights::forward);
      if (alone.empty()) alone = dst;
      CHECK(dst == alone);
    }
  });
}
