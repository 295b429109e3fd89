#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/adam.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <atomic>
#include <cmath>
#include <functional>

#include "base/parallel.h"
#include "kernels/update-inl.h"
#include "kernels/update.h"

#ifndef FACET_KERNELS_ADAM_TYPES
#define FACET_KERNELS_ADAM_TYPES
namespace facet::kernels {

struct AdamConstants {
  float beta1, one_minus_beta1, beta2, one_minus_beta2, step_size, root_correction, eps;
  float gradient_decay;  // coupled
  float weight_kept;     // decoupled: the share of the weight that stays
};

}  // namespace facet::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

/// Returns whether all values that it wrote are finite.
bool adam_range(const UpdateTarget& target, float* m_state, float* v_state, std::int64_t begin, std::int64_t end,
                const AdamConstants& constants) {
  const FloatTag tag;
  const auto beta1 = hn::Set(tag, constants.beta1);
  const auto one_minus_beta1 = hn::Set(tag, constants.one_minus_beta1);
  const auto beta2 = hn::Set(tag, constants.beta2);
  const auto one_minus_beta2 = hn::Set(tag, constants.one_minus_beta2);
  const auto step_size = hn::Set(tag, constants.step_size);
  const auto root_correction = hn::Set(tag, constants.root_correction);
  const auto eps = hn::Set(tag, constants.eps);
  const auto weight_kept = hn::Set(tag, constants.weight_kept);
  Floats weight_marks = hn::Zero(tag);
  Floats v_marks = hn::Zero(tag);  // they cover m: where m isn't finite, v isn't either
  for_each_vector(end - begin, [&](std::int64_t offset, std::size_t n) FACET_VECTOR_BODY {
    const std::int64_t i = begin + offset;
    const Floats old_weight = load(target.weight + i, n);
    const Floats g = decayed_gradient(target, i, n, old_weight, constants.gradient_decay);
    const Floats m = hn::MulAdd(one_minus_beta1, g, hn::Mul(beta1, load(m_state + i, n)));
    const Floats v = hn::MulAdd(hn::Mul(one_minus_beta2, g), g, hn::Mul(beta2, load(v_state + i, n)));
    const Floats denominator = hn::MulAdd(hn::Sqrt(v), root_correction, eps);
    const Floats weight = hn::NegMulAdd(step_size, hn::Div(m, denominator), hn::Mul(old_weight, weight_kept));
    store(m, m_state + i, n);
    store(v, v_state + i, n);
    store_weight(weight, target, i, n);
    weight_marks = add_mark(weight_marks, weight, n);
    v_marks = add_mark(v_marks, v, n);
  });
  return has_no_mark(hn::Add(weight_marks, v_marks));
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::kernels {

HWY_EXPORT(adam_range);

bool adam(const UpdateTarget& target, float* m, float* v, const AdamFactors& factors) {
  const auto step = static_cast<double>(factors.step);
  const double correction1 = 1 - std::pow(factors.beta1, step);
  const double correction2 = 1 - std::pow(factors.beta2, step);
  const double coupled = factors.decoupled ? 0 : factors.weight_decay;
  const double decoupled = factors.decoupled ? factors.weight_decay : 0;
  const AdamConstants constants{.beta1 = static_cast<float>(factors.beta1),
                                .one_minus_beta1 = static_cast<float>(1 - factors.beta1),
                                .beta2 = static_cast<float>(factors.beta2),
                                .one_minus_beta2 = static_cast<float>(1 - factors.beta2),
                                .step_size = static_cast<float>(factors.learning_rate / correction1),
                                .root_correction = static_cast<float>(1 / std::sqrt(correction2)),
                                .eps = static_cast<float>(factors.eps),
                                .gradient_decay = static_cast<float>(coupled),
                                .weight_kept = static_cast<float>(1 - factors.learning_rate * decoupled)};
  std::atomic<bool> finite = true;
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    if (!HWY_DYNAMIC_DISPATCH(adam_range)(target, m, v, begin, end, constants)) finite = false;
  };
  constexpr std::int64_t grain = 8192;
  base::parallel_for(target.count, grain, std::ref(body));
  return finite;
}

}  // namespace facet::kernels
#endif
