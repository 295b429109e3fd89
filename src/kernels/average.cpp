#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/average.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <functional>

#include "base/parallel.h"
#include "kernels/update-inl.h"
#include "kernels/update.h"

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

void average_range(const float* values, float* average, std::int64_t begin, std::int64_t end, float share) {
  for_each_vector(end - begin, [&](std::int64_t offset, std::size_t n) FACET_VECTOR_BODY {
    const std::int64_t i = begin + offset;
    store_average(load(values + i, n), average + i, n, share);
  });
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::kernels {

HWY_EXPORT(average_range);

void average(const float* values, float* average, std::int64_t count, double decay) {
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(average_range)(values, average, begin, end, static_cast<float>(1 - decay));
  };
  constexpr std::int64_t grain = 8192;
  base::parallel_for(count, grain, std::ref(body));
}

}  // namespace facet::kernels
#endif
