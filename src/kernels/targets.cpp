#include "kernels/targets.h"

#include <fmt/format.h>
#include <hwy/targets.h>

#include <atomic>
#include <cstdint>

#include "facet/error.h"

namespace facet::kernels {

namespace {

/// Highway's own limit is as global, and knows neither bf16 nor AMX.
std::atomic<bool> bf16_allowed = true;
std::atomic<bool> without_limit = true;

/// Highway's targets better than `limit`: the lower the bit, the better.
std::int64_t targets_above(std::string_view limit) {
  if (limit.empty() || limit == "avx512_bf16") return 0;
  if (limit == "avx512") return HWY_AVX3 - 1;
  if (limit == "avx2") return HWY_AVX2 - 1;
  throw Error(fmt::format("instructions '{}': avx2, avx512 and avx512_bf16 are allowed", limit));
}

}  // namespace

void limit_instructions(std::string_view limit) {
  hwy::DisableTargets(targets_above(limit));
  bf16_allowed = limit.empty() || limit == "avx512_bf16";
  without_limit = limit.empty();
}

bool amx_allowed() { return without_limit; }

bool has_bf16_dot_product() {
#if HWY_ARCH_X86_64
  return bf16_allowed && (hwy::SupportedTargets() & HWY_AVX3) != 0 && __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

}  // namespace facet::kernels
