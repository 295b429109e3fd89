#include "data/transforms/blend.h"

#include <cstddef>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "data/transforms/blend.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace facet::data::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void Blend(std::uint8_t* own, const std::uint8_t* other, std::size_t count, int weight) {
  // In 16 bits: own - other times 2^7 is multiplied by the weight times 2^15, and the product has 7 fractional bits.
  constexpr int bits = 7;
  const hn::ScalableTag<std::int16_t> i16;
  const hn::Rebind<std::uint8_t, decltype(i16)> u8;
  const std::size_t lanes = hn::Lanes(i16);
  const int factor = weight << (15 - blend_bits);
  const auto factors = hn::Set(i16, static_cast<std::int16_t>(factor));
  const auto half = hn::Set(i16, 1 << (bits - 1));
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto b = hn::PromoteTo(i16, hn::LoadU(u8, other + i));
    const auto difference = hn::Sub(hn::PromoteTo(i16, hn::LoadU(u8, own + i)), b);
    const auto product = hn::MulFixedPoint15(hn::ShiftLeft<bits>(difference), factors);
    const auto sum = hn::Add(hn::Add(hn::ShiftLeft<bits>(b), half), product);
    hn::StoreU(hn::DemoteTo(u8, hn::ShiftRight<bits>(sum)), u8, own + i);
  }
  for (; i < count; ++i) {
    const int product = ((own[i] - other[i]) * (1 << bits) * factor + (1 << 14)) >> 15;
    own[i] = static_cast<std::uint8_t>((other[i] * (1 << bits) + (1 << (bits - 1)) + product) >> bits);
  }
}

}  // namespace facet::data::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::data {

HWY_EXPORT(Blend);

void blend(std::span<std::uint8_t> own, std::span<const std::uint8_t> other, int weight) {
  if (weight == 1 << blend_bits) return;  // the only weight that has no factor of 16 bits
  HWY_DYNAMIC_DISPATCH(Blend)(own.data(), other.data(), own.size(), weight);
}

}  // namespace facet::data
#endif
