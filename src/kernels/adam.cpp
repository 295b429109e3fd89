#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/adam.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <functional>

#include "base/parallel.h"
#include "kernels/kernels.h"
#include "kernels/lanes-inl.h"

#ifndef FACET_KERNELS_ADAM_TYPES
#define FACET_KERNELS_ADAM_TYPES
namespace facet::kernels {

struct AdamPointers {
  float* weight;
  const float* gradient;
  float* m;
  float* v;
  std::uint16_t* weight_bf16;
};

struct AdamConstants {
  float beta1, one_minus_beta1, beta2, one_minus_beta2, step_size, root_correction, eps;
};

}  // namespace facet::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

void adam_range(const AdamPointers& p, std::int64_t begin, std::int64_t end, const AdamConstants& constants) {
  const FloatTag tag;
  const auto beta1 = hn::Set(tag, constants.beta1);
  const auto one_minus_beta1 = hn::Set(tag, constants.one_minus_beta1);
  const auto beta2 = hn::Set(tag, constants.beta2);
  const auto one_minus_beta2 = hn::Set(tag, constants.one_minus_beta2);
  const auto step_size = hn::Set(tag, constants.step_size);
  const auto root_correction = hn::Set(tag, constants.root_correction);
  const auto eps = hn::Set(tag, constants.eps);
  for_each_vector(end - begin, [&](std::int64_t offset, std::size_t n) FACET_VECTOR_BODY {
    const std::int64_t i = begin + offset;
    const Floats g = load(p.gradient + i, n);
    const Floats m = hn::MulAdd(one_minus_beta1, g, hn::Mul(beta1, load(p.m + i, n)));
    const Floats v = hn::MulAdd(hn::Mul(one_minus_beta2, g), g, hn::Mul(beta2, load(p.v + i, n)));
    const Floats denominator = hn::MulAdd(hn::Sqrt(v), root_correction, eps);
    const Floats weight = hn::NegMulAdd(step_size, hn::Div(m, denominator), load(p.weight + i, n));
    store(m, p.m + i, n);
    store(v, p.v + i, n);
    store(weight, p.weight + i, n);
    if (p.weight_bf16 != nullptr) store(weight, p.weight_bf16 + i, n);
  });
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::kernels {

HWY_EXPORT(adam_range);

void adam(float* weight, const float* gradient, float* m, float* v, std::uint16_t* weight_bf16, std::int64_t count,
          const AdamFactors& factors) {
  const auto step = static_cast<double>(factors.step);
  const double correction1 = 1 - std::pow(factors.beta1, step);
  const double correction2 = 1 - std::pow(factors.beta2, step);
  const AdamConstants constants{.beta1 = static_cast<float>(factors.beta1),
                                .one_minus_beta1 = static_cast<float>(1 - factors.beta1),
                                .beta2 = static_cast<float>(factors.beta2),
                                .one_minus_beta2 = static_cast<float>(1 - factors.beta2),
                                .step_size = static_cast<float>(factors.learning_rate / correction1),
                                .root_correction = static_cast<float>(1 / std::sqrt(correction2)),
                                .eps = static_cast<float>(factors.eps)};
  const AdamPointers pointers{weight, gradient, m, v, weight_bf16};
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(adam_range)(pointers, begin, end, constants);
  };
  constexpr std::int64_t grain = 8192;
  base::parallel_for(count, grain, std::ref(body));
}

}  // namespace facet::kernels
#endif
