#include "kernels/targets.h"

#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <algorithm>

#include "facet/error.h"
#include "kernels/pixels.h"

using namespace facet;

TEST_CASE("set_max_cpu_isa limits the CPU ISA that kernels are dispatched to, and removes the limit") {
  const std::int64_t all = hwy::SupportedTargets();
  kernels::set_max_cpu_isa("avx2");
  CHECK((hwy::SupportedTargets() & (HWY_AVX2 - 1)) == 0);
  CHECK((hwy::SupportedTargets() & HWY_AVX2) == (all & HWY_AVX2));
  kernels::set_max_cpu_isa("avx512");
  CHECK((hwy::SupportedTargets() & (HWY_AVX3 - 1)) == 0);
  CHECK((hwy::SupportedTargets() & HWY_AVX3) == (all & HWY_AVX3));
  kernels::set_max_cpu_isa("avx512_bf16");
  CHECK(hwy::SupportedTargets() == all);
  kernels::set_max_cpu_isa("avx2");
  kernels::set_max_cpu_isa("");
  CHECK(hwy::SupportedTargets() == all);
}

TEST_CASE("the effective CPU ISA is the best compiled one within the limit") {
  const std::vector<std::string_view> compiled = kernels::compiled_cpu_isas();
  const auto position = [&](std::string_view name) { return std::find(compiled.begin(), compiled.end(), name); };
  const auto best = position(kernels::effective_cpu_isa());
  REQUIRE(best != compiled.end());
  for (const char* limit : {"avx2", "avx512", "avx512_bf16"}) {
    kernels::set_max_cpu_isa(limit);
    CHECK(kernels::effective_cpu_isa() == *std::min(best, position(limit)));
  }
  kernels::set_max_cpu_isa("");
  CHECK(kernels::effective_cpu_isa() == *best);
}

TEST_CASE("bf16 dot products are off below avx512_bf16") {
  const bool supported = kernels::has_bf16_dot_product();
  for (const char* limit : {"avx2", "avx512"}) {
    kernels::set_max_cpu_isa(limit);
    CHECK_FALSE(kernels::has_bf16_dot_product());
  }
  kernels::set_max_cpu_isa("avx512_bf16");
  CHECK(kernels::has_bf16_dot_product() == supported);
  kernels::set_max_cpu_isa("");
}

TEST_CASE("a limit takes effect after kernels have run") {
  const float one = 1;
  std::uint16_t rounded = 0;
  kernels::to_bf16(&one, &rounded, 1);
  CHECK(hwy::GetChosenTarget().IsInitialized());
  kernels::set_max_cpu_isa("avx2");
  CHECK_FALSE(hwy::GetChosenTarget().IsInitialized());
  kernels::set_max_cpu_isa("");
}

TEST_CASE("an unknown limit is an error that names the allowed ones") {
  CHECK_THROWS_WITH_AS(kernels::set_max_cpu_isa("sse9"), "CPU ISA 'sse9': avx2, avx512 and avx512_bf16 are allowed",
                       Error);
}
