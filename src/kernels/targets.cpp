#include "kernels/targets.h"

#include <fmt/format.h>
#include <hwy/targets.h>

#include <atomic>
#include <cstdint>

#include "facet/error.h"
#include "kernels/amx_backward_weights.h"

namespace facet::kernels {

namespace {

/// Global, as Highway's own limit is, which covers neither bf16 nor AMX.
std::atomic<bool> bf16_allowed = true;
std::atomic<bool> without_limit = true;

/// The bits of Highway's targets above `limit`: a lower bit is a better target.
std::int64_t targets_above(std::string_view limit) {
  if (limit.empty() || limit == "avx512_bf16") return 0;
  if (limit == "avx512") return HWY_AVX3 - 1;
  if (limit == "avx2") return HWY_AVX2 - 1;
  throw Error(fmt::format("CPU ISA '{}': avx2, avx512 and avx512_bf16 are allowed", limit));
}

}  // namespace

void set_max_cpu_isa(std::string_view limit) {
  hwy::DisableTargets(targets_above(limit));
  bf16_allowed = limit.empty() || limit == "avx512_bf16";
  without_limit = limit.empty();
}

std::vector<std::string_view> compiled_cpu_isas() {
  std::vector<std::string_view> compiled;
  if ((HWY_TARGETS & ~(HWY_AVX2 | HWY_AVX3)) != 0) compiled.emplace_back("baseline");
  if ((HWY_TARGETS & HWY_AVX2) != 0) compiled.emplace_back("avx2");
  if ((HWY_TARGETS & HWY_AVX3) != 0) {
    for (const char* name : {"avx512", "avx512_bf16", "avx512_amx"}) compiled.emplace_back(name);
  }
  return compiled;
}

std::string_view effective_cpu_isa() {
  const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  if (has_amx_bf16()) return "avx512_amx";
  if (has_bf16_dot_product()) return "avx512_bf16";
  if ((targets & HWY_AVX3) != 0) return "avx512";
  return (targets & HWY_AVX2) != 0 ? "avx2" : "baseline";
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
