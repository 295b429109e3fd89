#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "peak_f32.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "peak.h"

HWY_BEFORE_NAMESPACE();
namespace facet::bench::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Two multiply-add units with a latency of four or five cycles need up to ten independent chains, for which the
// registers of AVX2 suffice.
constexpr int chains = 10;

void multiply_adds(std::int64_t rounds, float* sink) {
  const hn::ScalableTag<float> tag;
  const auto factor = hn::Set(tag, 0.999F);
  const auto summand = hn::Set(tag, 1e-3F);
  auto s0 = hn::Set(tag, 0.0F), s1 = hn::Set(tag, 0.1F), s2 = hn::Set(tag, 0.2F), s3 = hn::Set(tag, 0.3F);
  auto s4 = hn::Set(tag, 0.4F), s5 = hn::Set(tag, 0.5F), s6 = hn::Set(tag, 0.6F), s7 = hn::Set(tag, 0.7F);
  auto s8 = hn::Set(tag, 0.8F), s9 = hn::Set(tag, 0.9F);
  for (std::int64_t i = 0; i < rounds; ++i) {
    s0 = hn::MulAdd(s0, factor, summand);
    s1 = hn::MulAdd(s1, factor, summand);
    s2 = hn::MulAdd(s2, factor, summand);
    s3 = hn::MulAdd(s3, factor, summand);
    s4 = hn::MulAdd(s4, factor, summand);
    s5 = hn::MulAdd(s5, factor, summand);
    s6 = hn::MulAdd(s6, factor, summand);
    s7 = hn::MulAdd(s7, factor, summand);
    s8 = hn::MulAdd(s8, factor, summand);
    s9 = hn::MulAdd(s9, factor, summand);
  }
  const auto low = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), s4);
  const auto high = hn::Add(hn::Add(hn::Add(s5, s6), hn::Add(s7, s8)), s9);
  hn::StoreU(hn::Add(low, high), tag, sink);
}

PeakKernel kernel() {
  return {&multiply_adds, 2.0 * chains * static_cast<double>(hn::Lanes(hn::ScalableTag<float>()))};
}

}  // namespace facet::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::bench {

HWY_EXPORT(kernel);

PeakKernel f32_peak_kernel() { return HWY_DYNAMIC_DISPATCH(kernel)(); }

}  // namespace facet::bench
#endif
