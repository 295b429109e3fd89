#include "data/transforms/color_passes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "data/transforms/color_passes.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace facet::data::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Colours are in whole numbers of 16 bits, 0 to 255, a vector for each channel. Halves of two vectors hold a block of
// pixels as it is loaded by channel: the even ones and the odd ones, which takes no shuffles.

constexpr hn::ScalableTag<std::int16_t> i16;
constexpr hn::RebindToUnsigned<decltype(i16)> u16;
constexpr hn::Repartition<float, decltype(i16)> f32;
constexpr hn::Repartition<std::int32_t, decltype(i16)> i32;
using V = hn::Vec<decltype(i16)>;
using F = hn::Vec<decltype(f32)>;

struct Rgb {
  V r, g, b;
};
struct FloatRgb {
  F r, g, b;
};

#if HWY_TARGET == HWY_SCALAR

constexpr std::size_t halves = 1;

HWY_INLINE void Read(const std::uint8_t* in, Rgb* out) {
  const auto read = [in](int c) HWY_ATTR { return hn::Set(i16, in[c]); };
  *out = {read(0), read(1), read(2)};
}

HWY_INLINE void Write(const Rgb* in, std::uint8_t* out) {
  const auto write = [](V value) HWY_ATTR { return static_cast<std::uint8_t>(hn::GetLane(value)); };
  out[0] = write(in->r);
  out[1] = write(in->g);
  out[2] = write(in->b);
}

/// Changes colours as floats.
template <class Function>
HWY_INLINE Rgb AsFloats(const Rgb& in, const Function& function) {
  const auto to_float = [](V v) HWY_ATTR { return hn::Set(f32, static_cast<float>(hn::GetLane(v))); };
  const auto to_int = [](F v) HWY_ATTR { return hn::Set(i16, static_cast<std::int16_t>(hn::GetLane(v))); };
  const FloatRgb out = function(FloatRgb{to_float(in.r), to_float(in.g), to_float(in.b)});
  return {to_int(out.r), to_int(out.g), to_int(out.b)};
}

#else

constexpr std::size_t halves = 2;
constexpr hn::Repartition<std::uint8_t, decltype(i16)> u8;

HWY_INLINE void Read(const std::uint8_t* in, Rgb* out) {
  hn::Vec<decltype(u8)> r, g, b;
  hn::LoadInterleaved3(u8, in, r, g, b);
  const auto even = [](auto v) HWY_ATTR { return hn::And(hn::BitCast(i16, v), hn::Set(i16, 255)); };
  const auto odd = [](auto v) HWY_ATTR { return hn::BitCast(i16, hn::ShiftRight<8>(hn::BitCast(u16, v))); };
  out[0] = {even(r), even(g), even(b)};
  out[1] = {odd(r), odd(g), odd(b)};
}

HWY_INLINE void Write(const Rgb* in, std::uint8_t* out) {
  const auto join = [](V even, V odd) HWY_ATTR { return hn::BitCast(u8, hn::Or(even, hn::ShiftLeft<8>(odd))); };
  hn::StoreInterleaved3(join(in[0].r, in[1].r), join(in[0].g, in[1].g), join(in[0].b, in[1].b), u8, out);
}

/// Changes colours as floats.
template <class Function>
HWY_INLINE Rgb AsFloats(const Rgb& in, const Function& function) {
  const auto even = [](V v) HWY_ATTR { return hn::ConvertTo(f32, hn::And(hn::BitCast(i32, v), hn::Set(i32, 0xFFFF))); };
  const auto odd = [](V v) HWY_ATTR { return hn::ConvertTo(f32, hn::ShiftRight<16>(hn::BitCast(i32, v))); };
  const auto join = [](F a, F b) HWY_ATTR {
    return hn::BitCast(i16, hn::Or(hn::ConvertTo(i32, a), hn::ShiftLeft<16>(hn::ConvertTo(i32, b))));
  };
  const FloatRgb a = function(FloatRgb{even(in.r), even(in.g), even(in.b)});
  const FloatRgb b = function(FloatRgb{odd(in.r), odd(in.g), odd(in.b)});
  return {join(a.r, b.r), join(a.g, b.g), join(a.b, b.b)};
}

#endif

/// A step whose numbers are in fixed point: a blend is (factor * value + other_factor * other) of `bits` fractional
/// bits, cut off to whole numbers.
struct Step {
  ColorChange change;
  float turns;  // for the hue
  int bits;
  std::int16_t factor, other_factor;
  std::int16_t other;  // for the contrast: other_factor times the mean
};

constexpr int value_shift = 7;  // by which a value is shifted so that it fills a signed number of 16 bits

/// Factors above 127 are taken as 127, which makes white of all values above 2.
Step ToFixed(const ColorStep& step, float mean) {
  if (step.change == ColorChange::hue) return {step.change, step.factor, 0, 0, 0, 0};
  const float factor = std::min(step.factor, 127.0F);
  int bits = 6;
  while (factor * static_cast<float>(1 << (bits + 15 - value_shift)) > 32767) --bits;
  const auto one = static_cast<float>(1 << (bits + 15 - value_shift));
  const auto fixed = [](float value) { return static_cast<std::int16_t>(std::lrint(value)); };
  return {step.change,
          0,
          bits,
          fixed(factor * one),
          fixed((1 - factor) * one),
          fixed((1 - factor) * mean * static_cast<float>(1 << bits))};
}

HWY_INLINE V Scale(V value, V factor) { return hn::MulFixedPoint15(hn::ShiftLeft<value_shift>(value), factor); }

HWY_INLINE V ToWhole(V value, int bits) { return hn::Min(hn::ShiftRightSame(value, bits), hn::Set(i16, 255)); }

HWY_INLINE V Gray(const Rgb& in) {
  const auto weigh = [](V value, std::uint16_t weight) HWY_ATTR {
    return hn::MulHigh(hn::ShiftLeft<8>(hn::BitCast(u16, value)), hn::Set(u16, weight));
  };
  // 0.2989, 0.587 and 0.114 times 2^16
  const auto sum = hn::Add(hn::Add(weigh(in.r, 19589), weigh(in.g, 38470)), weigh(in.b, 7471));
  return hn::BitCast(i16, hn::ShiftRight<8>(sum));
}

/// @param other what is blended with, times its factor.
HWY_INLINE Rgb Blend(const Rgb& in, const Step& step, V other) {
  const V factor = hn::Set(i16, step.factor);
  const auto blend = [&](V value) HWY_ATTR {
    return ToWhole(hn::Max(hn::SaturatedAdd(Scale(value, factor), other), hn::Zero(i16)), step.bits);
  };
  return {blend(in.r), blend(in.g), blend(in.b)};
}

/// A channel of the hue `sixths`, in [0, 6), where `offset` is 5 for red, 3 for green and 1 for blue.
HWY_INLINE F ChannelOfHue(F sixths, float offset, F high, F range) {
  const F six = hn::Set(f32, 6.0F);
  F k = hn::Add(sixths, hn::Set(f32, offset));
  k = hn::IfThenElse(hn::Ge(k, six), hn::Sub(k, six), k);
  const F nearest = hn::Min(k, hn::Sub(hn::Set(f32, 4.0F), k));
  const F share = hn::Min(hn::Max(nearest, hn::Zero(f32)), hn::Set(f32, 1.0F));
  // Values lie in [0, 1] times 255; torchvision multiplies those in [0, 1] by 255.999 before it cuts off fractions.
  const F value = hn::Mul(hn::Sub(high, hn::Mul(range, share)), hn::Set(f32, 255.999F / 255.0F));
  return hn::Max(value, hn::Zero(f32));
}

HWY_INLINE FloatRgb TurnHue(const FloatRgb& in, float turns) {
  const F high = hn::Max(in.r, hn::Max(in.g, in.b));
  const F range = hn::Sub(high, hn::Min(in.r, hn::Min(in.g, in.b)));
  const auto is_gray = hn::Eq(range, hn::Zero(f32));
  const F by = hn::Div(hn::Set(f32, 1.0F), hn::IfThenElse(is_gray, hn::Set(f32, 1.0F), range));
  const F if_red = hn::Mul(hn::Sub(in.g, in.b), by);
  const F if_green = hn::Add(hn::Mul(hn::Sub(in.b, in.r), by), hn::Set(f32, 2.0F));
  const F if_blue = hn::Add(hn::Mul(hn::Sub(in.r, in.g), by), hn::Set(f32, 4.0F));
  const F hue = hn::IfThenElse(hn::Eq(high, in.r), if_red, hn::IfThenElse(hn::Eq(high, in.g), if_green, if_blue));
  const F six = hn::Set(f32, 6.0F);
  const F turned = hn::Add(hue, hn::Set(f32, 6.0F * turns));
  const F sixths = hn::Sub(turned, hn::Mul(six, hn::Floor(hn::Mul(turned, hn::Set(f32, 1.0F / 6.0F)))));
  return {ChannelOfHue(sixths, 5, high, range), ChannelOfHue(sixths, 3, high, range),
          ChannelOfHue(sixths, 1, high, range)};
}

HWY_INLINE void Change(Rgb* values, const Step& step) {
  const auto change = [&](const auto& function) HWY_ATTR {
    for (std::size_t h = 0; h < halves; ++h) values[h] = function(values[h]);
  };
  switch (step.change) {
    case ColorChange::brightness: {
      const V factor = hn::Set(i16, step.factor);
      const auto scale = [&](V value) HWY_ATTR { return ToWhole(Scale(value, factor), step.bits); };
      return change([&](const Rgb& in) HWY_ATTR { return Rgb{scale(in.r), scale(in.g), scale(in.b)}; });
    }
    case ColorChange::contrast:
      return change([&](const Rgb& in) HWY_ATTR { return Blend(in, step, hn::Set(i16, step.other)); });
    case ColorChange::saturation:
      return change([&](const Rgb& in)
                        HWY_ATTR { return Blend(in, step, Scale(Gray(in), hn::Set(i16, step.other_factor))); });
    case ColorChange::hue:
      return change([&](const Rgb& in) HWY_ATTR {
        return AsFloats(in, [&](const FloatRgb& floats) HWY_ATTR { return TurnHue(floats, step.turns); });
      });
  }
}

/// Changes pixels in place. @return the sum of the grey values of the result, where it is wanted.
template <bool sums>
HWY_INLINE std::int64_t ColorPassBy(std::uint8_t* pixels, std::size_t count, const Step* steps,
                                    std::size_t steps_count) {
  const std::size_t block = halves * hn::Lanes(i16);
  constexpr std::size_t max_blocks = 1 << 16;  // of which the sums fit into 32 bits
  const auto change = [&](std::uint8_t* at, std::size_t blocks) HWY_ATTR {
    auto sum = hn::Zero(i32), sum_of_odd = hn::Zero(i32);
    for (; blocks > 0; --blocks, at += 3 * block) {
      Rgb values[halves];
      Read(at, values);
      for (std::size_t s = 0; s < steps_count; ++s) Change(values, steps[s]);
      for (std::size_t h = 0; sums && h < halves; ++h) {
        sum = hn::ReorderWidenMulAccumulate(i32, Gray(values[h]), hn::Set(i16, 1), sum, sum_of_odd);
      }
      if (steps_count > 0) Write(values, at);
    }
    return std::int64_t{hn::GetLane(hn::SumOfLanes(i32, sum))} + hn::GetLane(hn::SumOfLanes(i32, sum_of_odd));
  };
  std::int64_t total = 0;
  while (count >= block) {
    const std::size_t blocks = std::min(count / block, max_blocks);
    total += change(pixels, blocks);
    count -= blocks * block;
    pixels += 3 * blocks * block;
  }
  if (count == 0) return total;
  std::uint8_t rest[3 * HWY_MAX_BYTES] = {};
  std::memcpy(rest, pixels, 3 * count);
  change(rest, 1);
  std::memcpy(pixels, rest, 3 * count);
  if constexpr (sums) {
    std::fill(rest + 3 * count, rest + 3 * block, std::uint8_t{0});  // black, which adds nothing
    steps_count = 0;
    total += change(rest, 1);
  }
  return total;
}

/// @param wants_sum whether the sum is wanted; otherwise it is 0.
double ColorPass(std::uint8_t* pixels, std::size_t count, const ColorStep* steps, std::size_t steps_count, float mean,
                 bool wants_sum) {
  constexpr std::size_t max_steps = 4;  // at a time
  Step fixed[max_steps];
  for (; steps_count > max_steps; steps += max_steps, steps_count -= max_steps) {
    ColorPass(pixels, count, steps, max_steps, mean, false);
  }
  for (std::size_t s = 0; s < steps_count; ++s) fixed[s] = ToFixed(steps[s], mean);
  return static_cast<double>(wants_sum ? ColorPassBy<true>(pixels, count, fixed, steps_count)
                                       : ColorPassBy<false>(pixels, count, fixed, steps_count));
}

void SharpenRow(const std::uint8_t* in, std::ptrdiff_t stride, int bytes, float factor, std::uint8_t* out) {
  const hn::Rebind<std::uint8_t, decltype(f32)> narrow;
  const auto lanes = static_cast<int>(hn::Lanes(f32));
  const F by = hn::Set(f32, factor), other = hn::Set(f32, 1.0F - factor);
  const auto sum_of_three = [&](const std::uint8_t* at) HWY_ATTR {
    const auto read = [&](std::ptrdiff_t offset)
                          HWY_ATTR { return hn::PromoteTo(i32, hn::LoadU(narrow, at + offset)); };
    return hn::Add(read(0), hn::Add(read(-3), read(3)));
  };
  const auto compute = [&](const std::uint8_t* at) HWY_ATTR {
    const auto center = hn::PromoteTo(i32, hn::LoadU(narrow, at));
    const auto square = hn::Add(hn::Add(sum_of_three(at - stride), sum_of_three(at + stride)), sum_of_three(at));
    const auto sum = hn::ConvertTo(f32, hn::Add(square, hn::ShiftLeft<2>(center)));
    const F smooth = hn::Round(hn::Mul(sum, hn::Set(f32, 1.0F / 13.0F)));
    const F blended = hn::Add(hn::Mul(hn::ConvertTo(f32, center), by), hn::Mul(smooth, other));
    return hn::DemoteTo(narrow, hn::ConvertTo(i32, blended));  // cuts off fractions
  };
  int x = 0;
  for (; x + lanes <= bytes; x += lanes) hn::StoreU(compute(in + x), narrow, out + x);
  if (x == bytes) return;
  // The last vector overlaps values that are computed already, or is computed from a copy where the row is shorter.
  if (bytes >= lanes) {
    hn::StoreU(compute(in + bytes - lanes), narrow, out + bytes - lanes);
    return;
  }
  constexpr std::ptrdiff_t width = HWY_MAX_BYTES + 6;
  std::uint8_t copy[3 * width] = {}, made[HWY_MAX_BYTES];
  for (std::ptrdiff_t row = -1; row <= 1; ++row) {
    std::memcpy(copy + (row + 1) * width, in + row * stride - 3, static_cast<std::size_t>(bytes) + 6);
  }
  stride = width;
  const auto at = copy + width + 3;
  hn::StoreU(compute(at), narrow, made);
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
