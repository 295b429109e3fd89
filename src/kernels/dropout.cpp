#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dropout.cpp"
#include "kernels/dropout.h"

#include <fmt/format.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "base/parallel.h"
#include "base/random.h"
#include "facet/error.h"
#include "kernels/lanes-inl.h"

#ifndef FACET_KERNELS_DROPOUT_TYPES
#define FACET_KERNELS_DROPOUT_TYPES
namespace facet::kernels {

/// The random words of a dropout op in one step: word i is word i % 4 of philox({i / 4 (64 bits), high}, key).
struct DropoutStream {
  std::array<std::uint32_t, 2> key;
  std::array<std::uint32_t, 2> high;
};

}  // namespace facet::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

constexpr std::size_t chunk = 1024;  // words drawn at a time; they stay in the first-level cache

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

void draw(const DropoutStream& stream, std::uint64_t first_block, std::size_t blocks, std::uint32_t* words) {
  for (std::size_t i = 0; i < blocks; ++i) {
    const std::uint64_t block = first_block + i;
    const auto drawn = base::philox(
        {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), stream.high[0], stream.high[1]},
        stream.key);
    std::copy(drawn.begin(), drawn.end(), words + 4 * i);
  }
}

#else

/// Draws four words for each of `blocks` blocks, rounded up to whole vectors. A 64-bit lane holds one of the four words
/// of its block's counter in its lower half; the upper halves are ignored.
void draw(const DropoutStream& stream, std::uint64_t first_block, std::size_t blocks, std::uint32_t* words) {
  const hn::ScalableTag<std::uint64_t> tag;
  const hn::Repartition<std::uint32_t, decltype(tag)> half_tag;
  const auto multiplier0 = hn::Set(half_tag, 0xD2511F53U);
  const auto multiplier1 = hn::Set(half_tag, 0xCD9E8D57U);
  const auto low = hn::Set(tag, 0xFFFFFFFFU);
  for (std::size_t i = 0; i < blocks; i += hn::Lanes(tag)) {
    auto x0 = hn::Iota(tag, first_block + i);
    auto x1 = hn::ShiftRight<32>(x0);
    auto x2 = hn::Set(tag, stream.high[0]);
    auto x3 = hn::Set(tag, stream.high[1]);
    std::uint32_t key0 = stream.key[0];
    std::uint32_t key1 = stream.key[1];
    for (int round = 0; round < 10; ++round) {
      const auto product0 = hn::MulEven(hn::BitCast(half_tag, x0), multiplier0);
      const auto product1 = hn::MulEven(hn::BitCast(half_tag, x2), multiplier1);
      x0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product1), x1), hn::Set(tag, key0));
      x1 = product1;
      x2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product0), x3), hn::Set(tag, key1));
      x3 = product0;
      key0 += 0x9E3779B9U;
      key1 += 0xBB67AE85U;
    }
    const auto words01 = hn::Or(hn::And(x0, low), hn::ShiftLeft<32>(x1));
    const auto words23 = hn::Or(hn::And(x2, low), hn::ShiftLeft<32>(x3));
    hn::StoreInterleaved2(words01, words23, tag, reinterpret_cast<std::uint64_t*>(words + 4 * i));
  }
}

#endif

template <class T>
HWY_INLINE void apply(const T* from, T* to, std::size_t count, const DropoutRule& rule, const std::uint32_t* words) {
  const FloatTag tag;
  const auto threshold = hn::Set(BitsTag(), static_cast<std::uint32_t>(static_cast<double>(rule.rate) * 4294967296.0));
  const auto scale = hn::Set(tag, rule.scale);
  const auto kept_shift = hn::Set(tag, rule.kept_shift);
  const auto dropped = hn::Set(tag, rule.dropped);
  for_each_vector(static_cast<std::int64_t>(count), [&](std::int64_t i, std::size_t n) FACET_VECTOR_BODY {
    const auto drop = hn::Lt(hn::LoadU(BitsTag(), words + i), threshold);
    const Floats kept = hn::MulAdd(scale, load(from + i, n), kept_shift);
    store(hn::IfThenElse(hn::RebindMask(tag, drop), dropped, kept), to + i, n);
  });
}

template <class T>
HWY_INLINE void dropout(const T* from, T* to, std::int64_t count, const DropoutRule& rule, const DropoutStream& stream,
                        std::uint64_t first) {
  // The last vector's load may reach beyond the words drawn.
  alignas(64) std::uint32_t words[chunk + hn::MaxLanes(FloatTag())] = {};
  for (std::int64_t done = 0; done < count;) {
    const std::size_t offset = first % 4;
    const std::size_t n = std::min(chunk - offset, static_cast<std::size_t>(count - done));
    draw(stream, first / 4, (offset + n + 3) / 4, words);
    apply(from + done, to + done, n, rule, words + offset);
    done += static_cast<std::int64_t>(n);
    first += n;
  }
}

void dropout_f32(const float* from, float* to, std::int64_t count, const DropoutRule& rule, const DropoutStream& stream,
                 std::uint64_t first) {
  dropout(from, to, count, rule, stream, first);
}

void dropout_bf16(const std::uint16_t* from, std::uint16_t* to, std::int64_t count, const DropoutRule& rule,
                  const DropoutStream& stream, std::uint64_t first) {
  dropout(from, to, count, rule, stream, first);
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::kernels {

HWY_EXPORT(dropout_f32);
HWY_EXPORT(dropout_bf16);

namespace {

constexpr std::int64_t grain = 4096;

/// A Philox draw combines step and op, so that the counter keeps all 64 bits for the element's index.
DropoutStream stream_of(const DropoutKey& key) {
  const auto mixed = base::philox({static_cast<std::uint32_t>(key.step), static_cast<std::uint32_t>(key.step >> 32),
                                   key.op, static_cast<std::uint32_t>(base::Purpose::dropout)},
                                  {static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32)});
  return {.key = {mixed[0], mixed[1]}, .high = {mixed[2], mixed[3]}};
}

/// @param rate in [0, 1).
double checked(float rate) {
  if (!(rate >= 0 && rate < 1)) throw Error(fmt::format("dropout: rate {} isn't in [0, 1)", rate));
  return rate;
}

DropoutRule gradient_of(const DropoutRule& rule) {
  return {.rate = rule.rate, .scale = rule.scale, .kept_shift = 0, .dropped = 0};
}

}  // namespace

DropoutRule dropout_rule(float rate) {
  return {.rate = rate, .scale = static_cast<float>(1 / (1 - checked(rate))), .kept_shift = 0, .dropped = 0};
}

DropoutRule alpha_dropout_rule(float rate) {
  constexpr double alpha = -1.7580993408473766;
  const double q = 1 - checked(rate);
  const double a = 1 / std::sqrt(q + alpha * alpha * q * (1 - q));
  const double b = -a * (1 - q) * alpha;
  return {.rate = rate,
          .scale = static_cast<float>(a),
          .kept_shift = static_cast<float>(b),
          .dropped = static_cast<float>(a * alpha + b)};
}

void dropout_forward(const float* from, float* to, std::int64_t count, const DropoutRule& rule, const DropoutKey& key,
                     std::uint64_t first) {
  const DropoutStream stream = stream_of(key);
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(dropout_f32)
    (from + begin, to + begin, end - begin, rule, stream, first + static_cast<std::uint64_t>(begin));
  };
  base::parallel_for(count, grain, std::ref(body));
}

void dropout_forward(const std::uint16_t* from, std::uint16_t* to, std::int64_t count, const DropoutRule& rule,
                     const DropoutKey& key, std::uint64_t first) {
  const DropoutStream stream = stream_of(key);
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(dropout_bf16)
    (from + begin, to + begin, end - begin, rule, stream, first + static_cast<std::uint64_t>(begin));
  };
  base::parallel_for(count, grain, std::ref(body));
}

void dropout_backward(const float* gradient_to, float* gradient_from, std::int64_t count, const DropoutRule& rule,
                      const DropoutKey& key, std::uint64_t first) {
  dropout_forward(gradient_to, gradient_from, count, gradient_of(rule), key, first);
}

void dropout_backward(const std::uint16_t* gradient_to, std::uint16_t* gradient_from, std::int64_t count,
                      const DropoutRule& rule, const DropoutKey& key, std::uint64_t first) {
  dropout_forward(gradient_to, gradient_from, count, gradient_of(rule), key, first);
}

}  // namespace facet::kernels
#endif
