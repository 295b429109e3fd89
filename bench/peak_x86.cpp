#include "peak.h"

#if defined(__x86_64__) && defined(__linux__)

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "kernels/amx_backward_weights.h"
#include "kernels/targets.h"

namespace facet::bench {

namespace {

constexpr int dot_chains = 12;

__attribute__((target("avx512f,avx512bf16"))) void dot_products(std::int64_t rounds, float* sink) {
  const auto factor = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1e-3F), _mm512_set1_ps(2e-3F));
  __m512 sums[dot_chains];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12  // keeps the sums in registers at any optimisation level
    for (int j = 0; j < dot_chains; ++j) sums[j] = _mm512_dpbf16_ps(sums[j], factor, factor);
  }
  for (int i = 1; i < dot_chains; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  _mm512_storeu_ps(sink, sums[0]);
}

/// The memory operand of ldtilecfg for palette 1.
struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1, start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

constexpr int tile_rows = 16, tile_row_bytes = 64, tile_chains = 6;

__attribute__((target("amx-tile,amx-bf16"))) void tile_products(std::int64_t rounds, float* sink) {
  TileConfiguration configuration;
  std::fill_n(configuration.row_bytes, 8, tile_row_bytes);
  std::fill_n(configuration.rows, 8, tile_rows);
  alignas(64) std::uint16_t numbers[tile_rows * tile_row_bytes / sizeof(std::uint16_t)];
  std::fill_n(numbers, std::size(numbers), std::uint16_t{0x3a83});  // 1e-3 as bf16
  _tile_loadconfig(&configuration);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_loadd(6, numbers, tile_row_bytes);
  _tile_loadd(7, numbers, tile_row_bytes);
  for (std::int64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 6, 7);
    _tile_dpbf16ps(1, 6, 7);
    _tile_dpbf16ps(2, 6, 7);
    _tile_dpbf16ps(3, 6, 7);
    _tile_dpbf16ps(4, 6, 7);
    _tile_dpbf16ps(5, 6, 7);
  }
  _tile_stored(0, sink, tile_row_bytes);
  _tile_release();
}

}  // namespace

PeakKernel bf16_dot_peak_kernel() {
  if (!kernels::has_bf16_dot_product()) return {};
  return {&dot_products, 2.0 * 32 * dot_chains};
}

PeakKernel bf16_amx_peak_kernel() {
  if (!kernels::has_amx_bf16()) return {};
  return {&tile_products, 2.0 * tile_rows * 16 * 32 * tile_chains};
}

}  // namespace facet::bench

#else

namespace facet::bench {

PeakKernel bf16_dot_peak_kernel() { return {}; }
PeakKernel bf16_amx_peak_kernel() { return {}; }

}  // namespace facet::bench

#endif
