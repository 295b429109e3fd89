#pragma once

#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>

#include "kernels/targets.h"

/// Calls body once for each CPU ISA that facet's kernels are compiled for and that this CPU has.
template <class Body>
void for_each_cpu_isa(const Body& body) {
  for (const std::string limit : {"fallback", "avx2", "avx512", "avx512_bf16"}) {
    CAPTURE(limit);
    if (limit == "fallback") {
      hwy::DisableTargets(-1);
    } else {
      facet::kernels::set_max_cpu_isa(limit);
    }
    body();
  }
  facet::kernels::set_max_cpu_isa("");
}

inline float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }
inline std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }
inline float float_of_bf16(std::uint16_t bits) { return float_of(static_cast<std::uint32_t>(bits) << 16); }

/// The nearest bf16 value, ties to even, found by comparing distances.
inline std::uint16_t nearest_bf16(float value) {
  const auto down = static_cast<std::uint16_t>(bits_of(value) >> 16);
  if (std::isnan(value)) return down | 0x40;
  if (std::isinf(value)) return down;
  const auto up = static_cast<std::uint16_t>(down + 1);
  const bool up_overflows = std::isinf(float_of_bf16(up));
  const double magnitude_up = up_overflows ? 0x1p128 : std::fabs(static_cast<double>(float_of_bf16(up)));
  const double magnitude = std::fabs(static_cast<double>(value));
  const double to_down = magnitude - std::fabs(static_cast<double>(float_of_bf16(down)));
  const double to_up = magnitude_up - magnitude;
  if (to_down != to_up) return to_down < to_up ? down : up;
  return down % 2 == 0 ? down : up;
}
