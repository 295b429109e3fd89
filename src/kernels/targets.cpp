#include "kernels/targets.h"

#include <fmt/format.h>
#include <hwy/targets.h>

#include <cstdint>

#include "facet/error.h"

namespace facet::kernels {

namespace {

/// Highway's targets better than `limit`: the lower the bit, the better.
std::int64_t targets_above(std::string_view limit) {
  if (limit.empty() || limit == "avx512_bf16") return 0;
  if (limit == "avx512") return HWY_AVX3 - 1;
  if (limit == "avx2") return HWY_AVX2 - 1;
  throw Error(fmt::format("instructions '{}': avx2, avx512 and avx512_bf16 are allowed", limit));
}

}  // namespace

void limit_instructions(std::string_view limit) { hwy::DisableTargets(targets_above(limit)); }

}  // namespace facet::kernels
