#include "kernels/winograd.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "each_cpu_isa.h"

using namespace facet;
using kernels::Activation;
using kernels::Winograd;
using kernels::WinogradProducts;
using kernels::WinogradShape;
using kernels::WinogradWeights;

namespace {

/// Calls body(first element of an output pixel, first element of an input pixel, tap) for each tap inside the input.
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

/// The convolution and its gradients by direct sums in double.
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
  return {images, in_channels, height, width, out_channels, height + 2 * padding - 2, width + 2 * padding - 2, padding,
          2};
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

/// Errors relative to the root mean square of the expected values; infinite where a value is not finite.
struct Error {
  double rms, largest;
};
Error error(const std::vector<float>& found, const std::vector<double>& expected) {
  double squares = 0;
  double total = 0;
  double largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double d = std::abs(static_cast<double>(found[i]) - expected[i]);
    if (!std::isfinite(d)) return {INFINITY, INFINITY};
    squares += d * d;
    largest = std::max(largest, d);
    total += expected[i] * expected[i];
  }
  const double scale = total > 0 ? total : 1;
  return {std::sqrt(squares / scale), largest * std::sqrt(static_cast<double>(expected.size()) / scale)};
}

std::vector<std::uint16_t> as_bf16(const std::vector<float>& values) {
  std::vector<std::uint16_t> result;
  for (const float value : values) result.push_back(nearest_bf16(value));
  return result;
}

/// Its weights are larger than most L2 caches, and it has more tiles than a block.
const WinogradShape beyond_cache = shape(2, 130, 23, 22, 260, 1);

const std::vector<WinogradShape>& shapes() {
  static const std::vector<WinogradShape> all{
      shape(1, 1, 3, 3, 1, 0),     shape(1, 1, 1, 1, 1, 1),     shape(2, 3, 4, 4, 5, 1),     shape(2, 16, 8, 8, 16, 1),
      shape(1, 17, 7, 9, 33, 1),   shape(3, 64, 14, 14, 64, 1), shape(1, 70, 5, 13, 130, 2), shape(2, 8, 6, 11, 24, 0),
      shape(1, 20, 10, 10, 12, 3), shape(5, 32, 28, 12, 40, 1), shape(1, 256, 4, 4, 200, 1), shape(5, 7, 4, 4, 9, 1),
      shape(2, 12, 4, 4, 150, 1),  shape(1, 6, 1, 9, 18, 1),    shape(2, 5, 9, 1, 17, 2),    beyond_cache,
  };
  return all;
}

/// Calls body for each CPU ISA and each type of products that it has.
template <class Body>
void for_each_winograd(const Body& body) {
  bool bf16_seen = false;
  for_each_cpu_isa([&] {
    for (const auto products : {WinogradProducts::f32, WinogradProducts::bf16}) {
      if (!kernels::has_winograd(products)) continue;
      const bool bf16 = products == WinogradProducts::bf16;
      bf16_seen = bf16_seen || bf16;
      CAPTURE(bf16);
      body(kernels::winograd_kernels(products), products);
    }
  });
  CHECK(bf16_seen == kernels::has_bf16_dot_product());
}

/// The bounds leave a margin to measured errors, which are relative to the output's root mean square: 1.7e-6 in f32
/// with 256 channels; in bf16, where transformed values are rounded to 8 bits, less than 1.5e-2 with many channels and
/// 2.0e-2 for a single product.
void check(const std::vector<float>& found, const std::vector<double>& expected, WinogradProducts products) {
  const Error e = error(found, expected);
  const bool f32 = products == WinogradProducts::f32;
  CHECK(e.rms < (f32 ? 2e-6 : 2.5e-2));
  CHECK(e.largest < (f32 ? 2e-5 : 0.2));
}

std::vector<float> relu(std::vector<float> values) {
  for (float& value : values) value = std::max(value, 0.0F);
  return values;
}

}  // namespace

TEST_CASE("winograd: forward, backward data and backward weights agree with direct sums in double") {
  for (WinogradShape s : shapes()) {
    CAPTURE(s.in_channels);
    CAPTURE(s.in_height);
    CAPTURE(s.in_width);
    CAPTURE(s.padding);
    const Case c(s);
    const Direct expected = c.direct();
    for_each_winograd([&](const Winograd& w, WinogradProducts products) {
      for (const int threads : {1, 2, 5}) {
        CAPTURE(threads);
        const base::ComputeScope scope(threads);
        s.threads = threads;
        check(forward(w, s, c.src, c.weights, WinogradWeights::forward), expected.dst, products);
        check(forward(w, s.backward_data(), c.diff_dst, c.weights, WinogradWeights::backward_data), expected.diff_src,
              products);
        check(backward_weights(w, s, c.src, c.diff_dst), expected.diff_weights, products);
      }
    });
  }
}

TEST_CASE("winograd: bias, residual and activation are applied to the outputs, each alone and together") {
  for_each_winograd([&](const Winograd& w, WinogradProducts) {
    for (const WinogradShape& s : shapes()) {
      const Case c(s);
      const std::vector<float> bias(c.weights.begin(), c.weights.begin() + s.out_channels);
      const std::vector<float> plain = forward(w, s, c.src, c.weights, WinogradWeights::forward);
      std::vector<float> transformed(w.weights_size(s.in_channels, s.out_channels));
      w.transform_weights(c.weights.data(), s.in_channels, s.out_channels, WinogradWeights::forward,
                          transformed.data());
      std::vector<float> scratch(w.forward_scratch(s));
      const std::vector<std::uint16_t> src = as_bf16(c.src);
      const std::vector<std::uint16_t> residual = as_bf16(c.diff_dst);
      for (const bool with_bias : {false, true}) {
        for (const bool with_residual : {false, true}) {
          for (const auto activation : {Activation::none, Activation::relu, Activation::relu6}) {
            CAPTURE(with_bias);
            CAPTURE(with_residual);
            CAPTURE(activation);
            std::vector<float> expected = plain;
            for (std::size_t i = 0; i < expected.size(); ++i) {
              if (with_bias) expected[i] += bias[i % bias.size()];
              if (with_residual) expected[i] += c.diff_dst[i];
            }
            if (activation != Activation::none) expected = relu(expected);
            if (activation == Activation::relu6) {
              for (float& value : expected) value = std::min(value, 6.0F);
            }
            const float* added = with_bias ? bias.data() : nullptr;
            std::vector<float> dst(expected.size(), NAN);
            w.forward(s, c.src.data(), transformed.data(),
                      {added, with_residual ? c.diff_dst.data() : nullptr, activation}, dst.data(), scratch.data());
            CHECK(dst == expected);
            std::vector<std::uint16_t> dst_bf16(expected.size(), 0x7fc0);
            w.forward_bf16(s, src.data(), transformed.data(),
                           {added, with_residual ? residual.data() : nullptr, activation}, dst_bf16.data(),
                           scratch.data());
            CHECK(dst_bf16 == as_bf16(expected));
          }
        }
      }
    }
  });
}

TEST_CASE("winograd: ReLU propagates NaN") {
  for_each_winograd([&](const Winograd& w, WinogradProducts) {
    const WinogradShape s = shape(1, 3, 4, 4, 5, 1);
    Case c(s);
    c.src[0] = NAN;
    std::vector<float> transformed(w.weights_size(3, 5)), scratch(w.forward_scratch(s)), dst(c.diff_dst.size());
    w.transform_weights(c.weights.data(), 3, 5, WinogradWeights::forward, transformed.data());
    w.forward(s, c.src.data(), transformed.data(), {.activation = Activation::relu}, dst.data(), scratch.data());
    for (int channel = 0; channel < 5; ++channel) CHECK(std::isnan(dst[static_cast<std::size_t>(channel)]));
  });
}

TEST_CASE("winograd: backward weights of activations in bf16 equal those of the same values in f32") {
  for_each_winograd([&](const Winograd& w, WinogradProducts) {
    for (const WinogradShape& s : shapes()) {
      const Case c(s);
      std::vector<float> scratch(w.backward_weights_scratch(s), NAN), diff_weights(c.weights.size(), NAN);
      w.backward_weights_bf16(s, as_bf16(c.src).data(), as_bf16(c.diff_dst).data(), diff_weights.data(),
                              scratch.data());
      CHECK(diff_weights == backward_weights(w, s, c.src, c.diff_dst));
    }
  });
}

TEST_CASE(
    "winograd: forward gives the same bits for any split of the work, backward weights for any number of threads") {
  const std::vector<WinogradShape> cases{shape(2, 24, 13, 10, 40, 1), beyond_cache};
  for_each_winograd([&](const Winograd& w, WinogradProducts) {
    for (const WinogradShape& s : cases) {
      CAPTURE(s.in_channels);
      const Case c(s);
      const std::vector<float> alone = forward(w, s, c.src, c.weights, WinogradWeights::forward);
      const std::vector<float> sums = backward_weights(w, s, c.src, c.diff_dst);
      for (const int threads : {1, 3, 7, 40}) {
        CAPTURE(threads);
        const base::ComputeScope scope(threads);
        CHECK(backward_weights(w, s, c.src, c.diff_dst) == sums);
        WinogradShape split_shape = s;
        split_shape.threads = threads;
        CHECK(forward(w, split_shape, c.src, c.weights, WinogradWeights::forward) == alone);
      }
    }
  });
}
