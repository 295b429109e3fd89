#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

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

#if HWY_MAX_BYTES >= 32

// Two taps by products of 16 bits, summed by pairs. A weight is of 22 bits: high * 2^8 + low.

constexpr hn::FixedTag<std::uint8_t, 32> u8;
constexpr hn::FixedTag<std::int16_t, 16> i16;
constexpr hn::FixedTag<std::int32_t, 8> i32;
constexpr hn::FixedTag<std::uint8_t, 16> u8_half;
using I16 = hn::Vec<decltype(i16)>;
using I32 = hn::Vec<decltype(i32)>;

constexpr int low_bits = 8;

/// The weights of two inputs, as numbers of 16 bits side by side.
struct PairOfWeights {
  std::uint32_t high, low;

  PairOfWeights(std::int32_t first, std::int32_t second) {
    const auto a = static_cast<std::uint32_t>(first), b = static_cast<std::uint32_t>(second);
    constexpr std::uint32_t mask = (1 << low_bits) - 1;
    high = a >> low_bits | b >> low_bits << 16;
    low = (a & mask) | (b & mask) << 16;
  }
};

/// Returns the sums of products of the pairs of numbers of 16 bits, plus `plus`.
HWY_INLINE I32 PairSums(I16 a, I16 b, I32 plus) {
  auto odd = hn::Zero(i32);
  const auto even = hn::ReorderWidenMulAccumulate(i32, a, b, plus, odd);
  return hn::RearrangeToOddPlusEven(even, odd);
}

/// Returns sums of two inputs by their weights, of weight_bits fractional bits, to be cut off.
HWY_INLINE I32 Mix(I16 inputs, I16 high, I16 low) {
  return hn::Add(hn::ShiftLeft<low_bits>(PairSums(inputs, high, hn::Zero(i32))),
                 PairSums(inputs, low, hn::Set(i32, half)));
}

/// What eight adjacent outputs are computed from: as two fours, each from 16 bytes of input.
struct Eight {
  static constexpr std::size_t outputs = 8;
  alignas(32) std::uint32_t picked[outputs];  // the bytes of the inputs of each output, each as 16 bits; by TableLookup
  alignas(32) std::uint32_t high[outputs], low[outputs];
  std::ptrdiff_t begin[2];  // of the bytes of the fours

  /// Prepares the outputs from `at`. @return whether the inputs lie close enough to each other.
  bool set(const Taps& taps, std::size_t at) {
    for (std::size_t four = 0; four < 2; ++four) {
      const int* first = &taps.first[at + 4 * four];
      const int lowest = std::min(first[0], first[3]), highest = std::max(first[0], first[3]);
      if (highest - lowest > 3) return false;
      begin[four] = std::ptrdiff_t{3} * lowest;
      for (std::size_t i = 0; i < 4; ++i) {
        const PairOfWeights weights(taps.weights[2 * (at + 4 * four + i)], taps.weights[2 * (at + 4 * four + i) + 1]);
        picked[4 * four + i] = 0x80038000U + 0x00010001U * 3U * static_cast<std::uint32_t>(first[i] - lowest);
        high[4 * four + i] = weights.high;
        low[4 * four + i] = weights.low;
      }
    }
    return true;
  }

  /// Computes the outputs of a row of inputs. @param is_last whether fewer than two outputs follow in the row.
  HWY_INLINE void compute(const std::uint8_t* in, bool is_last, std::uint8_t* out) const {
    const auto picks = hn::BitCast(u8, hn::Load(i32, reinterpret_cast<const std::int32_t*>(picked)));
    const I16 by_high = hn::BitCast(i16, hn::Load(i32, reinterpret_cast<const std::int32_t*>(high)));
    const I16 by_low = hn::BitCast(i16, hn::Load(i32, reinterpret_cast<const std::int32_t*>(low)));
    const auto mix = [&](int channel) HWY_ATTR {
      const auto bytes =
          hn::Combine(u8, hn::LoadU(u8_half, in + begin[1] + channel), hn::LoadU(u8_half, in + begin[0] + channel));
      return Mix(hn::BitCast(i16, hn::TableLookupBytesOr0(bytes, picks)), by_high, by_low);
    };
    const I32 red = hn::ShiftRight<weight_bits>(mix(0));
    const I32 green = hn::And(hn::ShiftRight<weight_bits - 8>(mix(1)), hn::Set(i32, 0xFF00));
    const I32 blue = hn::And(hn::ShiftRight<weight_bits - 16>(mix(2)), hn::Set(i32, 0xFF0000));
    alignas(16) static constexpr std::uint8_t without_fourths[16] = {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14};
    const auto pixels =
        hn::TableLookupBytes(hn::BitCast(u8, hn::Or(hn::Or(red, green), blue)), hn::LoadDup128(u8, without_fourths));
    hn::StoreU(hn::LowerHalf(u8_half, pixels), u8_half, out);
    if (is_last) {
      std::uint8_t last[16];
      hn::StoreU(hn::UpperHalf(u8_half, pixels), u8_half, last);
      std::memcpy(out + 12, last, 12);
    } else {
      hn::StoreU(hn::UpperHalf(u8_half, pixels), u8_half, out + 12);
    }
  }
};

/// Resizes rows by two taps. @return whether it could: there must be eight outputs, of inputs close to each other.
bool ResizeRowsByEights(const std::uint8_t* in, std::ptrdiff_t in_stride, int rows, const Taps& taps,
                        std::uint8_t* out) {
  const std::size_t outputs = taps.first.size();
  if (taps.count != 2 || outputs < Eight::outputs) return false;
  constexpr std::size_t max_eights = 32;
  Eight eights[max_eights];
  for (std::size_t begin = 0; begin < outputs; begin += max_eights * Eight::outputs) {
    std::size_t count = 0, at[max_eights];
    for (std::size_t x = begin; x < outputs && count < max_eights; x += Eight::outputs) {
      at[count] = std::min(x, outputs - Eight::outputs);  // the last one may overlap the one before
      if (!eights[count].set(taps, at[count])) return false;
      ++count;
    }
    for (std::ptrdiff_t y = 0; y < rows; ++y) {
      std::uint8_t* row = out + 3 * y * static_cast<std::ptrdiff_t>(outputs);
      for (std::size_t e = 0; e < count; ++e) {
        eights[e].compute(in + y * in_stride, at[e] + Eight::outputs + 2 > outputs, row + 3 * at[e]);
      }
    }
  }
  return true;
}

/// Resizes rows by any number of taps, two outputs at a time. @return whether it could: there must be two outputs.
bool ResizeRowsByTwos(const std::uint8_t* in, std::ptrdiff_t in_stride, int rows, const Taps& taps, std::uint8_t* out) {
  // The weights of two taps of two outputs, for each of four channels, of which the last one is empty.
  struct Two {
    alignas(32) std::int32_t high[8], low[8];
  };
  const std::size_t outputs = taps.first.size(), count = static_cast<std::size_t>(taps.count);
  if (outputs < 2) return false;
  if (rows == 0) return true;
  const std::size_t pairs = (count + 1) / 2,
                    at_a_time = std::max<std::size_t>(256 / pairs, 1);  // which the cache holds
  std::vector<Two> twos(at_a_time * pairs);
  alignas(16) static constexpr std::uint8_t channels[16] = {0, 128, 3, 128, 1,   128, 4,   128,
                                                            2, 128, 5, 128, 128, 128, 128, 128};
  alignas(16) static constexpr std::uint8_t lowest_bytes[16] = {0, 4, 8, 12};
  const auto picks = hn::LoadDup128(u8, channels), bytes_of_sums = hn::LoadDup128(u8, lowest_bytes);
  for (std::size_t begin = 0; begin < outputs; begin += 2 * at_a_time) {
    const std::size_t end = std::min(begin + 2 * at_a_time, outputs);
    const auto output_of = [&](std::size_t x) { return std::min(x, outputs - 2); };  // the last two may overlap
    Two* two = twos.data();
    for (std::size_t x = begin; x < end; x += 2) {
      for (std::size_t p = 0; p < pairs; ++p, ++two) {
        for (std::size_t i = 0; i < 8; ++i) {
          const std::int32_t* weight = &taps.weights[(output_of(x) + i / 4) * count + 2 * p];
          const PairOfWeights weights(weight[0], 2 * p + 1 < count ? weight[1] : 0);
          two->high[i] = static_cast<std::int32_t>(weights.high);
          two->low[i] = static_cast<std::int32_t>(weights.low);
        }
      }
    }
    for (std::ptrdiff_t y = 0; y < rows; ++y) {
      const std::uint8_t* row = in + y * in_stride;
      std::uint8_t* row_out = out + 3 * y * static_cast<std::ptrdiff_t>(outputs);
      two = twos.data();
      for (std::size_t x = begin; x < end; x += 2) {
        const std::size_t o = output_of(x);
        const std::uint8_t *first = row + std::ptrdiff_t{3} * taps.first[o],
                           *second = row + std::ptrdiff_t{3} * taps.first[o + 1];
        I32 sum = hn::Set(i32, half);
        for (std::size_t p = 0; p < pairs; ++p, ++two, first += 6, second += 6) {
          const auto bytes = hn::Combine(u8, hn::LoadU(u8_half, second), hn::LoadU(u8_half, first));
          const I16 inputs = hn::BitCast(i16, hn::TableLookupBytesOr0(bytes, picks));
          const I32 highs = PairSums(inputs, hn::BitCast(i16, hn::Load(i32, two->high)), hn::Zero(i32));
          sum = PairSums(inputs, hn::BitCast(i16, hn::Load(i32, two->low)), sum);
          sum = hn::Add(sum, hn::ShiftLeft<low_bits>(highs));
        }
        const auto bytes = hn::TableLookupBytes(hn::BitCast(u8, hn::ShiftRight<weight_bits>(sum)), bytes_of_sums);
        const hn::Repartition<std::uint32_t, decltype(u8_half)> u32;
        const auto one = hn::GetLane(hn::BitCast(u32, hn::LowerHalf(u8_half, bytes)));
        const auto other = hn::GetLane(hn::BitCast(u32, hn::UpperHalf(u8_half, bytes)));
        std::memcpy(row_out + 3 * o, &one, 4);  // a fourth byte, which the next pixel overwrites
        std::memcpy(row_out + 3 * o + 3, &other, 3);
      }
    }
  }
  return true;
}

/// Sums of 32 bytes of rows by their weights.
struct Sums {
  I32 parts[4];  // each of four bytes of either half
};

/// Adds 32 bytes of two rows, by their weights. @tparam is_first whether the sums begin with these.
template <bool is_first>
HWY_INLINE void AddRows(const std::uint8_t* first, const std::uint8_t* second, const PairOfWeights& weights,
                        Sums& sums) {
  const auto a = hn::LoadU(u8, first), b = hn::LoadU(u8, second), zero = hn::Zero(u8);
  const I16 high = hn::BitCast(i16, hn::Set(i32, static_cast<std::int32_t>(weights.high)));
  const I16 low = hn::BitCast(i16, hn::Set(i32, static_cast<std::int32_t>(weights.low)));
  const auto lower = hn::InterleaveLower(u8, a, b), upper = hn::InterleaveUpper(u8, a, b);
  const auto add = [&](auto pairs, I32& sum) HWY_ATTR {
    const I16 inputs = hn::BitCast(i16, pairs);
    const I32 highs = hn::ShiftLeft<low_bits>(PairSums(inputs, high, hn::Zero(i32)));
    sum = hn::Add(highs, PairSums(inputs, low, is_first ? hn::Set(i32, half) : sum));
  };
  add(hn::InterleaveLower(u8, lower, zero), sums.parts[0]);
  add(hn::InterleaveUpper(u8, lower, zero), sums.parts[1]);
  add(hn::InterleaveLower(u8, upper, zero), sums.parts[2]);
  add(hn::InterleaveUpper(u8, upper, zero), sums.parts[3]);
}

/// Writes the whole parts of sums as bytes, which they fit into.
HWY_INLINE void WriteSums(const Sums& sums, std::uint8_t* out) {
  const auto whole = [](I32 sum) HWY_ATTR { return hn::ShiftRight<weight_bits>(sum); };
  const auto lower = hn::ReorderDemote2To(i16, whole(sums.parts[0]), whole(sums.parts[1]));
  const auto upper = hn::ReorderDemote2To(i16, whole(sums.parts[2]), whole(sums.parts[3]));
  alignas(16) static constexpr std::uint8_t evens_first[16] = {0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15};
  const auto both = hn::BitCast(u8, hn::Or(lower, hn::ShiftLeft<8>(upper)));
  hn::StoreU(hn::TableLookupBytes(both, hn::LoadDup128(u8, evens_first)), u8, out);
}

/// Computes output rows. @return whether it could: they must have 32 bytes.
bool MixRowsByPairs(const std::uint8_t* in, std::ptrdiff_t in_stride, int bytes, const Taps& taps, std::uint8_t* out) {
  constexpr int block = 32;
  if (bytes < block) return false;
  const std::int32_t* weight = taps.weights.data();
  for (std::size_t o = 0; o < taps.first.size(); ++o, weight += taps.count, out += bytes) {
    const std::uint8_t* rows = in + taps.first[o] * in_stride;
    for (int begin = 0; begin < bytes; begin += block) {
      const int x = std::min(begin, bytes - block);  // the last block may overlap the one before
      Sums sums;
      const auto add = [&](int t, auto is_first) HWY_ATTR {
        const bool is_pair = t + 1 < taps.count;
        const std::uint8_t* row = rows + t * in_stride + x;
        AddRows<is_first.value>(row, is_pair ? row + in_stride : row,
                                PairOfWeights(weight[t], is_pair ? weight[t + 1] : 0), sums);
      };
      add(0, std::true_type());
      for (int t = 2; t < taps.count; t += 2) add(t, std::false_type());
      WriteSums(sums, out + x);
    }
  }
  return true;
}

#else

bool MixRowsByPairs(const std::uint8_t*, std::ptrdiff_t, int, const Taps&, std::uint8_t*) { return false; }

bool ResizeRowsByEights(const std::uint8_t*, std::ptrdiff_t, int, const Taps&, std::uint8_t*) { return false; }
bool ResizeRowsByTwos(const std::uint8_t*, std::ptrdiff_t, int, const Taps&, std::uint8_t*) { return false; }

#endif

// Enlarging needs two taps; with a constant count the compiler unrolls the loop over them.
void ResizeRows(const std::uint8_t* in, std::ptrdiff_t in_stride, int rows, const Taps& taps, std::uint8_t* out) {
  if (ResizeRowsByEights(in, in_stride, rows, taps, out) || ResizeRowsByTwos(in, in_stride, rows, taps, out)) return;
  taps.count == 2 ? ResizeRowsBy<2>(in, in_stride, rows, taps, out) : ResizeRowsBy<0>(in, in_stride, rows, taps, out);
}

void MixRows(const std::uint8_t* in, std::ptrdiff_t in_stride, int bytes, const Taps& taps, std::uint8_t* out) {
  if (MixRowsByPairs(in, in_stride, bytes, taps, out)) return;
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
