#include "data/transforms/affine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <utility>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "data/transforms/affine.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef FACET_DATA_AFFINE_ONCE
#define FACET_DATA_AFFINE_ONCE
namespace facet::data {
namespace {

/// An image of one 32-bit word for each pixel, red in the lowest byte, with a border of one pixel at the left and the
/// top, and of two at the right and the bottom: a position is clamped to the border, and interpolated with the pixels
/// to its right and below it.
struct BorderedImage {
  const std::int32_t* origin;  // the image's first pixel
  std::int32_t stride;         // words of a row
  int height, width;           // without the border
};

}  // namespace
}  // namespace facet::data
#endif

HWY_BEFORE_NAMESPACE();
namespace facet::data::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Words = hn::RebindToSigned<Floats>;
using V = hn::Vec<Floats>;
using W = hn::Vec<Words>;
constexpr Floats f32;
constexpr Words i32;

HWY_INLINE W Channel(W pixels, int channel) {
  const W value = channel == 0 ? pixels : channel == 1 ? hn::ShiftRight<8>(pixels) : hn::ShiftRight<16>(pixels);
  return hn::And(value, hn::Set(i32, 255));
}

HWY_INLINE V Mix(V a, V b, V share) { return hn::Add(a, hn::Mul(hn::Sub(b, a), share)); }

/// Computes the channels of the pixels at (x, y).
template <bool is_bilinear>
HWY_INLINE void Sample(const BorderedImage& image, V x, V y, W channels[3]) {
  const auto clamp = [](V at, int end) HWY_ATTR {
    return hn::Min(hn::Max(at, hn::Set(f32, -1.0F)), hn::Set(f32, static_cast<float>(end)));
  };
  x = clamp(x, image.width);
  y = clamp(y, image.height);
  const V left = is_bilinear ? hn::Floor(x) : hn::Round(x);
  const V top = is_bilinear ? hn::Floor(y) : hn::Round(y);
  const W at = hn::Add(hn::Mul(hn::ConvertTo(i32, top), hn::Set(i32, image.stride)), hn::ConvertTo(i32, left));
  const W top_left = hn::GatherIndex(i32, image.origin, at);
  if constexpr (!is_bilinear) {
    for (int c = 0; c < 3; ++c) channels[c] = Channel(top_left, c);
    return;
  }
  const W top_right = hn::GatherIndex(i32, image.origin + 1, at);
  const W bottom_left = hn::GatherIndex(i32, image.origin + image.stride, at);
  const W bottom_right = hn::GatherIndex(i32, image.origin + image.stride + 1, at);
  const V right_share = hn::Sub(x, left), bottom_share = hn::Sub(y, top);
  for (int c = 0; c < 3; ++c) {
    const auto value = [c](W pixels) HWY_ATTR { return hn::ConvertTo(f32, Channel(pixels, c)); };
    const V mixed = Mix(Mix(value(top_left), value(top_right), right_share),
                        Mix(value(bottom_left), value(bottom_right), right_share), bottom_share);
    channels[c] = hn::NearestInt(mixed);
  }
}

template <bool is_bilinear>
HWY_INLINE void MapRows(const BorderedImage& image, const InverseMap& map, std::uint8_t* out) {
  const hn::Rebind<std::uint8_t, Words> u8;
  const auto lanes = static_cast<int>(hn::Lanes(f32));
  const V a = hn::Set(f32, static_cast<float>(map.a)), d = hn::Set(f32, static_cast<float>(map.d));
  std::uint8_t planes[3][hn::MaxLanes(f32)];
  for (int row = 0; row < image.height; ++row) {
    const V x = hn::Set(f32, static_cast<float>(map.b * row + map.c));
    const V y = hn::Set(f32, static_cast<float>(map.e * row + map.f));
    for (int column = 0; column < image.width; column += lanes) {
      const V columns = hn::Iota(f32, static_cast<float>(column));
      W channels[3];
      Sample<is_bilinear>(image, hn::Add(hn::Mul(columns, a), x), hn::Add(hn::Mul(columns, d), y), channels);
      for (int c = 0; c < 3; ++c) hn::StoreU(hn::DemoteTo(u8, channels[c]), u8, planes[c]);
      const int count = std::min(lanes, image.width - column);
      for (int i = 0; i < count; ++i, out += 3) {
        out[0] = planes[0][i];
        out[1] = planes[1][i];
        out[2] = planes[2][i];
      }
    }
  }
}

void MapImage(const BorderedImage& image, const InverseMap& map, bool is_bilinear, std::uint8_t* out) {
  is_bilinear ? MapRows<true>(image, map, out) : MapRows<false>(image, map, out);
}

}  // namespace facet::data::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::data {

HWY_EXPORT(MapImage);

InverseMap inverse_of(const AffineMap& map, ImageSize size) {
  const auto radians = [](double degrees) { return degrees * std::numbers::pi / 180; };
  const double angle = radians(map.degrees), shear_x = radians(map.shear_x), shear_y = radians(map.shear_y);
  // Rotation times shear, [a b; c d], whose determinant is 1.
  const double a = std::cos(angle - shear_y) / std::cos(shear_y);
  const double b = -a * std::tan(shear_x) - std::sin(angle);
  const double c = std::sin(angle - shear_y) / std::cos(shear_y);
  const double d = -c * std::tan(shear_x) + std::cos(angle);
  InverseMap inverse{.a = d / map.scale, .b = -b / map.scale, .d = -c / map.scale, .e = a / map.scale};
  const double center_x = map.center_x + (size.width - 1) * 0.5, center_y = map.center_y + (size.height - 1) * 0.5;
  const double from_x = center_x + map.right, from_y = center_y + map.down;
  inverse.c = center_x - inverse.a * from_x - inverse.b * from_y;
  inverse.f = center_y - inverse.d * from_x - inverse.e * from_y;
  return inverse;
}

void transform_affine(std::span<std::uint8_t> pixels, ImageSize size, const InverseMap& map,
                      Interpolation interpolation, const Color& fill, Scratch& scratch) {
  constexpr std::size_t before = 1, after = 2, word = sizeof(std::int32_t);
  const auto width = static_cast<std::size_t>(size.width), height = static_cast<std::size_t>(size.height);
  const std::size_t stride = before + width + after;
  std::vector<std::uint8_t> bytes = scratch.take((before + height + after) * stride * word);
  auto* words = reinterpret_cast<std::int32_t*>(bytes.data());  // allocated memory is aligned for any scalar
  const auto packed = [](const std::uint8_t* rgb) { return rgb[0] | rgb[1] << 8 | rgb[2] << 16; };
  const std::int32_t around = packed(fill.data());
  std::fill_n(words, before * stride, around);
  std::int32_t* to = words + before * stride;
  const std::uint8_t* from = pixels.data();
  for (std::size_t y = 0; y < height; ++y) {
    to = std::fill_n(to, before, around);
    for (std::size_t x = 0; x < width; ++x, from += 3) *to++ = packed(from);
    to = std::fill_n(to, after, around);
  }
  std::fill_n(to, after * stride, around);
  const BorderedImage image{.origin = words + before * stride + before,
                            .stride = static_cast<std::int32_t>(stride),
                            .height = size.height,
                            .width = size.width};
  HWY_DYNAMIC_DISPATCH(MapImage)(image, map, interpolation == Interpolation::bilinear, pixels.data());
  scratch.give(std::move(bytes));
}

}  // namespace facet::data
#endif
