#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

/// bf16 (bfloat16): the upper half of an f32. Kernels convert whole arrays with vector instructions.
namespace facet::base {

/// Rounds to the nearest bf16, ties to even. NaN stays NaN.
inline std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

inline float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

}  // namespace facet::base
