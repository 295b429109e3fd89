#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <functional>

#include "base/parallel.h"
#include "kernels/lanes-inl.h"
#include "kernels/pixels.h"

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

void to_bf16_range(const float* from, std::uint16_t* to, std::int64_t count) {
  for_each_vector(count, [=](std::int64_t i, std::size_t n) FACET_VECTOR_BODY { store(load(from + i, n), to + i, n); });
}

void from_bf16_range(const std::uint16_t* from, float* to, std::int64_t count) {
  for_each_vector(count, [=](std::int64_t i, std::size_t n) FACET_VECTOR_BODY { store(load(from + i, n), to + i, n); });
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::kernels {

HWY_EXPORT(to_bf16_range);
HWY_EXPORT(from_bf16_range);

namespace {

constexpr std::int64_t grain = 16384;

}  // namespace

void to_bf16(const float* from, std::uint16_t* to, std::int64_t count) {
  const auto body = [=](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(to_bf16_range)(from + begin, to + begin, end - begin);
  };
  base::parallel_for(count, grain, std::ref(body));
}

void from_bf16(const std::uint16_t* from, float* to, std::int64_t count) {
  const auto body = [=](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(from_bf16_range)(from + begin, to + begin, end - begin);
  };
  base::parallel_for(count, grain, std::ref(body));
}

}  // namespace facet::kernels
#endif
