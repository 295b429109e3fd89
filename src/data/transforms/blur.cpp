#include "data/transforms/blur.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "data/transforms/blur.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace facet::data::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Values are kept as fixed point with 7 fractional bits, and weights with 15: their products keep 7 bits.
constexpr int fraction = 7;

/// The sum of count products of a weight and the values at in[i].
void SumRows(const std::uint8_t* const* in, const std::int16_t* weights, int count, int bytes, std::int16_t* out) {
  const hn::ScalableTag<std::int16_t> i16;
  const hn::Rebind<std::uint8_t, decltype(i16)> u8;
  const auto lanes = static_cast<int>(hn::Lanes(i16));
  int x = 0;
  for (; x + lanes <= bytes; x += lanes) {
    auto sum = hn::Zero(i16);
    for (int i = 0; i < count; ++i) {
      const auto values = hn::ShiftLeft<fraction>(hn::PromoteTo(i16, hn::LoadU(u8, in[i] + x)));
      sum = hn::SaturatedAdd(sum, hn::MulFixedPoint15(values, hn::Set(i16, weights[i])));
    }
    hn::StoreU(sum, i16, out + x);
  }
  for (; x < bytes; ++x) {
    int sum = 0;
    for (int i = 0; i < count; ++i) sum += ((in[i][x] << fraction) * weights[i] + (1 << 14)) >> 15;
    out[x] = static_cast<std::int16_t>(sum);
  }
}

/// The sums of products of weights and the values at in, in + 3, in + 6 and so on, rounded to whole numbers.
void SumColumns(const std::int16_t* in, const std::int16_t* weights, int count, int bytes, std::uint8_t* out) {
  constexpr std::int16_t half = 1 << (fraction - 1);
  const hn::ScalableTag<std::int16_t> i16;
  const hn::Rebind<std::uint8_t, decltype(i16)> u8;
  const auto lanes = static_cast<int>(hn::Lanes(i16));
  int x = 0;
  for (; x + lanes <= bytes; x += lanes) {
    auto sum = hn::Set(i16, half);
    for (int i = 0; i < count; ++i) {
      sum = hn::SaturatedAdd(sum, hn::MulFixedPoint15(hn::LoadU(i16, in + x + 3 * i), hn::Set(i16, weights[i])));
    }
    hn::StoreU(hn::DemoteTo(u8, hn::ShiftRight<fraction>(sum)), u8, out + x);
  }
  for (; x < bytes; ++x) {
    int sum = half;
    for (int i = 0; i < count; ++i) sum += (in[x + 3 * i] * weights[i] + (1 << 14)) >> 15;
    out[x] = static_cast<std::uint8_t>(std::clamp(sum >> fraction, 0, 255));
  }
}

}  // namespace facet::data::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::data {

HWY_EXPORT(SumRows);
HWY_EXPORT(SumColumns);

namespace {

constexpr int max_radius = 64;

/// Returns where a mirrored position lies; the border's pixel isn't repeated.
int mirrored(int at, int end) {
  if (at < 0) return -at;
  return at < end ? at : 2 * (end - 1) - at;
}

}  // namespace

int blur_radius(double sigma, ImageSize size) {
  return std::min(
      {static_cast<int>(std::ceil(3 * std::min(sigma, 100.0))), max_radius, size.height - 1, size.width - 1});
}

void gaussian_blur(std::span<std::uint8_t> pixels, ImageSize size, double sigma, Scratch& scratch) {
  const int radius = blur_radius(sigma, size), count = 2 * radius + 1;
  if (radius == 0) return;
  std::array<double, 2 * max_radius + 1> shares{};
  double total = 0;
  for (int i = 0; i < count; ++i) {
    const double distance = (i - radius) / sigma;
    total += shares[static_cast<std::size_t>(i)] = std::exp(-0.5 * distance * distance);
  }
  std::array<std::int16_t, 2 * max_radius + 1> weights{};
  int left = (1 << 15) - 1;  // the greatest weight, which the centre of a narrow kernel nearly has
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    weights[at] = static_cast<std::int16_t>(std::lround(shares[at] / total * 32767));
    left -= weights[at];
  }
  weights[static_cast<std::size_t>(radius)] =
      static_cast<std::int16_t>(weights[static_cast<std::size_t>(radius)] + left);

  const int bytes = size.width * 3, border = radius * 3;
  const auto row_bytes = static_cast<std::size_t>(bytes);
  std::vector<std::uint8_t> before = scratch.take(pixels.size());
  std::ranges::copy(pixels, before.begin());
  std::vector<std::uint8_t> row_buffer =
      scratch.take((row_bytes + 2 * static_cast<std::size_t>(border)) * sizeof(std::int16_t));
  auto* row = reinterpret_cast<std::int16_t*>(row_buffer.data()) + border;
  for (int y = 0; y < size.height; ++y) {
    std::array<const std::uint8_t*, 2 * max_radius + 1> rows{};
    for (int i = 0; i < count; ++i) {
      rows[static_cast<std::size_t>(i)] =
          &before[static_cast<std::size_t>(mirrored(y + i - radius, size.height)) * row_bytes];
    }
    HWY_DYNAMIC_DISPATCH(SumRows)(rows.data(), weights.data(), count, bytes, row);
    for (int x = 1; x <= radius; ++x) {
      std::copy_n(row + 3 * x, 3, row - 3 * x);
      std::copy_n(row + bytes - 3 * (x + 1), 3, row + bytes + 3 * (x - 1));
    }
    HWY_DYNAMIC_DISPATCH(SumColumns)
    (row - border, weights.data(), count, bytes, &pixels[static_cast<std::size_t>(y) * row_bytes]);
  }
  scratch.give(std::move(row_buffer));
  scratch.give(std::move(before));
}

}  // namespace facet::data
#endif
