#include <hwy/detect_targets.h>

#include "kernels/targets.h"
#include "kernels/winograd.h"

#if HWY_ARCH_X86_64

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/winograd_bf16.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX3
// Highway enables the bf16 dot product only for later targets, and its older versions don't enable it at all.
#undef HWY_TARGET_STR
#define HWY_TARGET_STR HWY_TARGET_STR_AVX3 ",avx512bf16"
#endif

#include "kernels/winograd-inl.h"

#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

namespace winograd {
namespace {

/// Products of bf16, summed in f32. A word holds two numbers.
struct Bf16Products {
  static constexpr int numbers = 2;

  static HWY_INLINE void store_lanes(const Floats* tile, float* to, std::int64_t stride) {
    for (int point = 0; point < points; ++point) {
      const __m256bh rounded = _mm512_cvtneps_pbh(tile[point].raw);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + point * stride), (__m256i)rounded);
    }
  }

  static HWY_INLINE void store_words(const Floats (*tiles)[points], float* to, std::int64_t stride) {
    alignas(64) static constexpr std::uint16_t pairs[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                            21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                            11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i order = _mm512_load_si512(pairs);
    for (int point = 0; point < points; ++point) {
      const __m512bh rounded = _mm512_cvtne2ps_pbh(tiles[1][point].raw, tiles[0][point].raw);
      _mm512_storeu_si512(to + point * stride, _mm512_permutexvar_epi16(order, (__m512i)rounded));
    }
  }

  static HWY_INLINE Floats multiply_add(Floats word, Floats words, Floats sum) {
    return Floats{_mm512_dpbf16_ps(sum.raw, (__m512bh)word.raw, (__m512bh)words.raw)};
  }
};

}  // namespace
}  // namespace winograd

const Winograd& winograd_with_bf16() {
  static constexpr Winograd all = winograd::winograd_with<winograd::Bf16Products>();
  return all;
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace facet::kernels {

const Winograd* winograd_bf16() { return has_bf16_dot_product() ? &N_AVX3::winograd_with_bf16() : nullptr; }

}  // namespace facet::kernels
#endif

#else

namespace facet::kernels {

const Winograd* winograd_bf16() { return nullptr; }

}  // namespace facet::kernels

#endif
