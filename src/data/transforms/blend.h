#pragma once

#include <cstdint>
#include <span>

namespace facet::data {

/// The weights of blend() are multiples of 2^-blend_bits.
inline constexpr int blend_bits = 14;

/// Computes weight * own + (1 - weight) * other, in place of `own`, to within 0.51, for any CPU to the same bits.
/// @param weight times 2^blend_bits; 0 to 2^blend_bits. @param other as long as `own`.
void blend(std::span<std::uint8_t> own, std::span<const std::uint8_t> other, int weight);

}  // namespace facet::data
