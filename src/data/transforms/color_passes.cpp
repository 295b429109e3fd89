#include "data/transforms/color_passes.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "data/transforms/color_passes.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace facet::data::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using V = hn::Vec<Floats>;
constexpr Floats f32;

/// Pixels by channel; as many as an interleaved load of 16-byte vectors takes, or a vector of floats where that has
/// more.
constexpr std::size_t block = std::max<std::size_t>(16, HWY_MAX_BYTES / sizeof(float));
struct Planes {
  alignas(64) std::uint8_t channel[3][block];
};

#if HWY_TARGET == HWY_SCALAR

void Split(const std::uint8_t* in, Planes& planes) {
  for (std::size_t i = 0; i < block; ++i) {
    for (std::size_t c = 0; c < 3; ++c) planes.channel[c][i] = in[3 * i + c];
  }
}

void Join(const Planes& planes, std::uint8_t* out) {
  for (std::size_t i = 0; i < block; ++i) {
    for (std::size_t c = 0; c < 3; ++c) out[3 * i + c] = planes.channel[c][i];
  }
}

#else

constexpr hn::FixedTag<std::uint8_t, 16> bytes16;

HWY_INLINE void Split(const std::uint8_t* in, Planes& planes) {
  for (std::size_t i = 0; i < block; i += 16) {
    hn::Vec<decltype(bytes16)> r, g, b;
    hn::LoadInterleaved3(bytes16, in + 3 * i, r, g, b);
    hn::Store(r, bytes16, planes.channel[0] + i);
    hn::Store(g, bytes16, planes.channel[1] + i);
    hn::Store(b, bytes16, planes.channel[2] + i);
  }
}

HWY_INLINE void Join(const Planes& planes, std::uint8_t* out) {
  for (std::size_t i = 0; i < block; i += 16) {
    hn::StoreInterleaved3(hn::Load(bytes16, planes.channel[0] + i), hn::Load(bytes16, planes.channel[1] + i),
                          hn::Load(bytes16, planes.channel[2] + i), bytes16, out + 3 * i);
  }
}

#endif

HWY_INLINE V Read(const std::uint8_t* in) {
  const hn::RebindToSigned<Floats> i32;
  const hn::Rebind<std::uint8_t, Floats> u8;
  return hn::ConvertTo(f32, hn::PromoteTo(i32, hn::LoadU(u8, in)));
}

/// Cuts off fractions.
HWY_INLINE void Write(V values, std::uint8_t* out) {
  const hn::RebindToSigned<Floats> i32;
  const hn::Rebind<std::uint8_t, Floats> u8;
  hn::StoreU(hn::DemoteTo(u8, hn::ConvertTo(i32, values)), u8, out);
}

struct Rgb {
  V r, g, b;
};

HWY_INLINE V Gray(const Rgb& in) {
  return hn::Floor(hn::Add(hn::Add(hn::Mul(in.r, hn::Set(f32, 0.2989F)), hn::Mul(in.g, hn::Set(f32, 0.587F))),
                           hn::Mul(in.b, hn::Set(f32, 0.114F))));
}

/// @param other what is blended with, times (1 - factor).
HWY_INLINE V Blend(V value, V factor, V other) {
  const V sum = hn::Add(hn::Mul(value, factor), other);
  return hn::Floor(hn::Min(hn::Max(sum, hn::Zero(f32)), hn::Set(f32, 255.0F)));
}

HWY_INLINE Rgb Blend(const Rgb& in, float factor, V other) {
  const V by = hn::Set(f32, factor);
  return {Blend(in.r, by, other), Blend(in.g, by, other), Blend(in.b, by, other)};
}

/// A channel of the hue `sixths`, in [0, 6), where `offset` is 5 for red, 3 for green and 1 for blue.
HWY_INLINE V ChannelOfHue(V sixths, float offset, V high, V range) {
  const V six = hn::Set(f32, 6.0F);
  V k = hn::Add(sixths, hn::Set(f32, offset));
  k = hn::IfThenElse(hn::Ge(k, six), hn::Sub(k, six), k);
  const V nearest = hn::Min(k, hn::Sub(hn::Set(f32, 4.0F), k));
  const V share = hn::Min(hn::Max(nearest, hn::Zero(f32)), hn::Set(f32, 1.0F));
  // Values lie in [0, 1] times 255; torchvision multiplies those in [0, 1] by 255.999 before it cuts off fractions.
  const V value = hn::Mul(hn::Sub(high, hn::Mul(range, share)), hn::Set(f32, 255.999F / 255.0F));
  return hn::Floor(hn::Max(value, hn::Zero(f32)));
}

HWY_INLINE Rgb TurnHue(const Rgb& in, float turns) {
  const V high = hn::Max(in.r, hn::Max(in.g, in.b));
  const V range = hn::Sub(high, hn::Min(in.r, hn::Min(in.g, in.b)));
  const auto is_gray = hn::Eq(range, hn::Zero(f32));
  const V by = hn::Div(hn::Set(f32, 1.0F), hn::IfThenElse(is_gray, hn::Set(f32, 1.0F), range));
  const V if_red = hn::Mul(hn::Sub(in.g, in.b), by);
  const V if_green = hn::Add(hn::Mul(hn::Sub(in.b, in.r), by), hn::Set(f32, 2.0F));
  const V if_blue = hn::Add(hn::Mul(hn::Sub(in.r, in.g), by), hn::Set(f32, 4.0F));
  const V hue = hn::IfThenElse(hn::Eq(high, in.r), if_red, hn::IfThenElse(hn::Eq(high, in.g), if_green, if_blue));
  const V six = hn::Set(f32, 6.0F);
  const V turned = hn::Add(hue, hn::Set(f32, 6.0F * turns));
  const V sixths = hn::Sub(turned, hn::Mul(six, hn::Floor(hn::Mul(turned, hn::Set(f32, 1.0F / 6.0F)))));
  return {ChannelOfHue(sixths, 5, high, range), ChannelOfHue(sixths, 3, high, range),
          ChannelOfHue(sixths, 1, high, range)};
}

HWY_INLINE Rgb Change(const Rgb& in, const ColorStep& step, float mean) {
  switch (step.change) {
    case ColorChange::brightness:
      return Blend(in, step.factor, hn::Zero(f32));
    case ColorChange::contrast:
      return Blend(in, step.factor, hn::Set(f32, (1.0F - step.factor) * mean));
    case ColorChange::saturation:
      return Blend(in, step.factor, hn::Mul(Gray(in), hn::Set(f32, 1.0F - step.factor)));
    case ColorChange::hue:
      return TurnHue(in, step.factor);
  }
  return in;
}

/// Changes a block of pixels. @return the sums of their grey values, where they are wanted.
template <bool sums>
HWY_INLINE V ChangeBlock(Planes& planes, const ColorStep* steps, std::size_t count, float mean) {
  V sum = hn::Zero(f32);
  auto& [red, green, blue] = planes.channel;
  for (std::size_t i = 0; i < block; i += hn::Lanes(f32)) {
    Rgb values{Read(red + i), Read(green + i), Read(blue + i)};
    for (std::size_t s = 0; s < count; ++s) values = Change(values, steps[s], mean);
    if constexpr (sums) sum = hn::Add(sum, Gray(values));
    if (count == 0) continue;
    Write(values.r, red + i);
    Write(values.g, green + i);
    Write(values.b, blue + i);
  }
  return sum;
}

/// Changes pixels in place. @return the sum of the grey values of the result, where it is wanted.
template <bool sums>
HWY_INLINE double ColorPassBy(std::uint8_t* pixels, std::size_t count, const ColorStep* steps, std::size_t steps_count,
                              float mean) {
  double total = 0;
  Planes planes;
  const auto change = [&](std::uint8_t* at) HWY_ATTR {
    Split(at, planes);
    const V sum = ChangeBlock<sums>(planes, steps, steps_count, mean);
    // Sums of whole numbers below 2^24 are exact in any order.
    if constexpr (sums) total += static_cast<double>(hn::GetLane(hn::SumOfLanes(f32, sum)));
    if (steps_count > 0) Join(planes, at);
  };
  for (; count >= block; count -= block, pixels += 3 * block) change(pixels);
  if (count == 0) return total;
  std::uint8_t rest[3 * block] = {};  // with black pixels behind the last one
  std::memcpy(rest, pixels, 3 * count);
  const double before = total;
  change(rest);
  std::memcpy(pixels, rest, 3 * count);
  if constexpr (sums) {
    total = before;
    std::fill(rest + 3 * count, rest + 3 * block, std::uint8_t{0});
    steps_count = 0;
    change(rest);
  }
  return total;
}

/// @param wants_sum whether the sum is wanted; otherwise it is 0.
double ColorPass(std::uint8_t* pixels, std::size_t count, const ColorStep* steps, std::size_t steps_count, float mean,
                 bool wants_sum) {
  return wants_sum ? ColorPassBy<true>(pixels, count, steps, steps_count, mean)
                   : ColorPassBy<false>(pixels, count, steps, steps_count, mean);
}

void SharpenRow(const std::uint8_t* in, std::ptrdiff_t stride, int bytes, float factor, std::uint8_t* out) {
  const hn::RebindToSigned<Floats> i32;
  const hn::Rebind<std::uint8_t, Floats> u8;
  const auto lanes = static_cast<int>(hn::Lanes(f32));
  const V by = hn::Set(f32, factor), other = hn::Set(f32, 1.0F - factor);
  const auto sum_of_three = [&](const std::uint8_t* at) HWY_ATTR {
    const auto read = [&](std::ptrdiff_t offset) HWY_ATTR { return hn::PromoteTo(i32, hn::LoadU(u8, at + offset)); };
    return hn::Add(read(0), hn::Add(read(-3), read(3)));
  };
  const auto compute = [&](const std::uint8_t* at) HWY_ATTR {
    const auto center = hn::PromoteTo(i32, hn::LoadU(u8, at));
    const auto square = hn::Add(hn::Add(sum_of_three(at - stride), sum_of_three(at + stride)), sum_of_three(at));
    const auto sum = hn::ConvertTo(f32, hn::Add(square, hn::ShiftLeft<2>(center)));
    const V smooth = hn::Round(hn::Mul(sum, hn::Set(f32, 1.0F / 13.0F)));
    return Blend(hn::ConvertTo(f32, center), by, hn::Mul(smooth, other));
  };
  int x = 0;
  for (; x + lanes <= bytes; x += lanes) Write(compute(in + x), out + x);
  if (x == bytes) return;
  // The last vector overlaps values that are computed already, or is computed from a copy where the row is shorter.
  if (bytes >= lanes) {
    Write(compute(in + bytes - lanes), out + bytes - lanes);
    return;
  }
  constexpr std::ptrdiff_t width = HWY_MAX_BYTES + 6;
  std::uint8_t copy[3 * width] = {}, made[HWY_MAX_BYTES];
  for (std::ptrdiff_t row = -1; row <= 1; ++row) {
    std::memcpy(copy + (row + 1) * width, in + row * stride - 3, static_cast<std::size_t>(bytes) + 6);
  }
  stride = width;
  const auto at = copy + width + 3;
  Write(compute(at), made);
  std::memcpy(out, made, static_cast<std::size_t>(bytes));
}

}  // namespace facet::data::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::data {

HWY_EXPORT(ColorPass);
HWY_EXPORT(SharpenRow);

float color_pass(std::span<std::uint8_t> pixels, std::span<const ColorStep> steps, float mean, bool wants_mean) {
  const std::size_t count = pixels.size() / 3;
  const double sum =
      HWY_DYNAMIC_DISPATCH(ColorPass)(pixels.data(), count, steps.data(), steps.size(), mean, wants_mean);
  return static_cast<float>(sum / static_cast<double>(count));
}

void sharpen_row(const std::uint8_t* in, std::ptrdiff_t stride, int bytes, float factor, std::uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(SharpenRow)(in, stride, bytes, factor, out);
}

}  // namespace facet::data
#endif
