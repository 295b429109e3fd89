#include "kernels/targets.h"

#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <algorithm>

#include "facet/error.h"
#include "kernels/kernels.h"

using namespace facet;

TEST_CASE("limit_instructions limits what kernels are dispatched to, and lifts the limit") {
  const std::int64_t all = hwy::SupportedTargets();
  kernels::limit_instructions("avx2");
  CHECK((hwy::SupportedTargets() & (HWY_AVX2 - 1)) == 0);
  CHECK((hwy::SupportedTargets() & HWY_AVX2) == (all & HWY_AVX2));
  kernels::limit_instructions("avx512");
  CHECK((hwy::SupportedTargets() & (HWY_AVX3 - 1)) == 0);
  CHECK((hwy::SupportedTargets() & HWY_AVX3) == (all & HWY_AVX3));
  kernels::limit_instructions("avx512_bf16");
  CHECK(hwy::SupportedTargets() == all);
  kernels::limit_instructions("avx2");
  kernels::limit_instructions("");
  CHECK(hwy::SupportedTargets() == all);
}

TEST_CASE("the instruction sets that are compiled in, and the one that is used") {
  const std::vector<std::string_view> compiled = kernels::compiled_instructions();
  const auto place = [&](std::string_view name) { return std::find(compiled.begin(), compiled.end(), name); };
  const auto best = place(kernels::used_instructions());
  REQUIRE(best != compiled.end());
  for (const char* limit : {"avx2", "avx512", "avx512_bf16"}) {
    kernels::limit_instructions(limit);
    CHECK(kernels::used_instructions() == *std::min(best, place(limit)));
  }
  kernels::limit_instructions("");
  CHECK(kernels::used_instructions() == *best);
}

TEST_CASE("bf16 dot products are off below avx512_bf16") {
  const bool there = kernels::has_bf16_dot_product();
  for (const char* limit : {"avx2", "avx512"}) {
    kernels::limit_instructions(limit);
    CHECK_FALSE(kernels::has_bf16_dot_product());
  }
  kernels::limit_instructions("avx512_bf16");
  CHECK(kernels::has_bf16_dot_product() == there);
  kernels::limit_instructions("");
}

TEST_CASE("a limit takes effect after kernels have run") {
  const float one = 1;
  std::uint16_t rounded = 0;
  kernels::to_bf16(&one, &rounded, 1);
  CHECK(hwy::GetChosenTarget().IsInitialized());
  kernels::limit_instructions("avx2");
  CHECK_FALSE(hwy::GetChosenTarget().IsInitialized());
  kernels::limit_instructions("");
}

TEST_CASE("an unknown limit is an error that names those allowed") {
  CHECK_THROWS_WITH_AS(kernels::limit_instructions("sse9"),
                       "instructions 'sse9': avx2, avx512 and avx512_bf16 are allowed", Error);
}
