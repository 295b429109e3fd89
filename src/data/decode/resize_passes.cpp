#include <algorithm>
#include <cstring>

#include "data/decode/resize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "data/decode/resize_passes.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace facet::data::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr std::int32_t half = 1 << (weight_bits - 1);

#if HWY_TARGET == HWY_SCALAR

void WritePixel(const std::uint8_t* in, const std::int32_t* weight, int count, bool, std::uint8_t* out) {
  for (int c = 0; c < 3; ++c) {
    std::int32_t sum = half;
    for (int t = 0; t < count; ++t) sum += in[3 * t + c] * weight[t];
    out[c] = static_cast<std::uint8_t>(std::clamp(sum >> weight_bits, 0, 255));
  }
}

#else

/// Reads and writes a pixel as four bytes. The fourth byte belongs to the next pixel, which overwrites it.
HWY_INLINE void WritePixel(const std::uint8_t* in, const std::int32_t* weight, int count, bool is_last,
                           std::uint8_t* out) {
  const hn::FixedTag<std::int32_t, 4> wide;
  const hn::Rebind<std::uint8_t, decltype(wide)> narrow;
  auto sum = hn::Set(wide, half);
  for (int t = 0; t < count; ++t, in += 3) {
    sum = hn::Add(sum, hn::Mul(hn::PromoteTo(wide, hn::LoadU(narrow, in)), hn::Set(wide, weight[t])));
  }
  const auto bytes = hn::DemoteTo(narrow, hn::ShiftRight<weight_bits>(sum));
  if (is_last) {
    std::uint8_t four[4];
    hn::StoreU(bytes, narrow, four);
    std::memcpy(out, four, 3);
  } else {
    hn::StoreU(bytes, narrow, out);
  }
}

#endif

/// @tparam fixed_count taps.count, or 0 for any count.
template <int fixed_count>
HWY_INLINE void ResizeRowsBy(const std::uint8_t* in, std::ptrdiff_t in_stride, int rows, const Taps& taps,
                             std::uint8_t* out) {
  const int count = fixed_count > 0 ? fixed_count : taps.count;
  const auto outputs = taps.first.size();
  const int* first = taps.first.data();
  for (int y = 0; y < rows; ++y, in += in_stride) {
    const std::int32_t* weight = taps.weights.data();
    for (std::size_t x = 0; x < outputs; ++x, weight += count, out += 3) {
      WritePixel(in + 3 * std::ptrdiff_t{first[x]}, weight, count, x + 1 == outputs, out);
    }
  }
}

template <int fixed_count>
HWY_INLINE void MixRowsBy(const std::uint8_t* in, std::ptrdiff_t in_stride, int bytes, const Taps& taps,
                          std::uint8_t* out) {
  const hn::ScalableTag<std::int32_t> wide;
  const hn::Rebind<std::uint8_t, decltype(wide)> narrow;
  const auto lanes = static_cast<int>(hn::Lanes(wide));
  const int count = fixed_count > 0 ? fixed_count : taps.count;
  const std::int32_t* weight = taps.weights.data();
  for (const int first : taps.first) {
    const std::uint8_t* rows = in + first * in_stride;
    int x = 0;
    for (; x + lanes <= bytes; x += lanes) {
      auto sum = hn::Set(wide, half);
      for (int t = 0; t < count; ++t) {
        const auto pixels = hn::PromoteTo(wide, hn::LoadU(narrow, rows + x + t * in_stride));
        sum = hn::Add(sum, hn::Mul(pixels, hn::Set(wide, weight[t])));
      }
      hn::StoreU(hn::DemoteTo(narrow, hn::ShiftRight<weight_bits>(sum)), narrow, out + x);
    }
    for (; x < bytes; ++x) {
      std::int32_t sum = half;
      for (int t = 0; t < count; ++t) sum += rows[x + t * in_stride] * weight[t];
      out[x] = static_cast<std::uint8_t>(std::clamp(sum >> weight_bits, 0, 255));
    }
    weight += count;
    out += bytes;
  }
}

// Enlarging needs two taps; with a constant count the compiler unrolls the loop over them.
void ResizeRows(const std::uint8_t* in, std::ptrdiff_t in_stride, int rows, const Taps& taps, std::uint8_t* out) {
  taps.count == 2 ? ResizeRowsBy<2>(in, in_stride, rows, taps, out) : ResizeRowsBy<0>(in, in_stride, rows, taps, out);
}

void MixRows(const std::uint8_t* in, std::ptrdiff_t in_stride, int bytes, const Taps& taps, std::uint8_t* out) {
  taps.count == 2 ? MixRowsBy<2>(in, in_stride, bytes, taps, out) : MixRowsBy<0>(in, in_stride, bytes, taps, out);
}

}  // namespace facet::data::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::data {

HWY_EXPORT(ResizeRows);
HWY_EXPORT(MixRows);

void resize_rows(const std::uint8_t* in, std::ptrdiff_t in_stride, int rows, const Taps& taps, std::uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(ResizeRows)(in, in_stride, rows, taps, out);
}

void mix_rows(const std::uint8_t* in, std::ptrdiff_t in_stride, int bytes, const Taps& taps, std::uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(MixRows)(in, in_stride, bytes, taps, out);
}

}  // namespace facet::data
#endif
