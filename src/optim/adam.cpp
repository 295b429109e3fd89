#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/adam.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "optim/optimizer.h"
#include "optim/update-inl.h"

#ifndef FACET_OPTIM_ADAM_CONSTANTS
#define FACET_OPTIM_ADAM_CONSTANTS
namespace facet::optim {

struct AdamConstants {
  float beta1, one_minus_beta1, beta2, one_minus_beta2, step_size, root_correction, eps;
  float gradient_decay;  // Adam's
  float weight_kept;     // AdamW's: the share of the weight that stays
};

}  // namespace facet::optim
#endif

HWY_BEFORE_NAMESPACE();
namespace facet::optim::HWY_NAMESPACE {

/// Returns whether all values that it wrote are finite.
bool adam_range(const UpdateOperands& p, std::int64_t begin, std::int64_t end, const AdamConstants& constants) {
  const FloatTag tag;
  const auto beta1 = hn::Set(tag, constants.beta1);
  const auto one_minus_beta1 = hn::Set(tag, constants.one_minus_beta1);
  const auto beta2 = hn::Set(tag, constants.beta2);
  const auto one_minus_beta2 = hn::Set(tag, constants.one_minus_beta2);
  const auto step_size = hn::Set(tag, constants.step_size);
  const auto root_correction = hn::Set(tag, constants.root_correction);
  const auto eps = hn::Set(tag, constants.eps);
  const auto weight_kept = hn::Set(tag, constants.weight_kept);
  float* const m_state = p.slots[0];
  float* const v_state = p.slots[1];
  Floats weight_marks = hn::Zero(tag);
  Floats v_marks = hn::Zero(tag);  // they cover m: where m isn't finite, v isn't either
  for_each_vector(end - begin, [&](std::int64_t offset, std::size_t n) FACET_VECTOR_BODY {
    const std::int64_t i = begin + offset;
    const Floats old_weight = load(p.weight + i, n);
    const Floats g = decayed_gradient(p, i, n, old_weight, constants.gradient_decay);
    const Floats m = hn::MulAdd(one_minus_beta1, g, hn::Mul(beta1, load(m_state + i, n)));
    const Floats v = hn::MulAdd(hn::Mul(one_minus_beta2, g), g, hn::Mul(beta2, load(v_state + i, n)));
    const Floats denominator = hn::MulAdd(hn::Sqrt(v), root_correction, eps);
    const Floats weight = hn::NegMulAdd(step_size, hn::Div(m, denominator), hn::Mul(old_weight, weight_kept));
    store(m, m_state + i, n);
    store(v, v_state + i, n);
    store_weight(weight, p, i, n);
    weight_marks = add_mark(weight_marks, weight, n);
    v_marks = add_mark(v_marks, v, n);
  });
  return has_no_mark(hn::Add(weight_marks, v_marks));
}

}  // namespace facet::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::optim {
namespace {

HWY_EXPORT(adam_range);

class Adam final : public Optimizer {
 public:
  Adam(const AdamOptions& options, bool decoupled) : Optimizer(options.groups), o_(options), decoupled_(decoupled) {}

  std::vector<std::string> slot_names() const override { return {"exp_avg", "exp_avg_sq"}; }

  bool update(const UpdateOperands& p, const UpdateFactors& factors, std::span<const double>) const override {
    const auto step = static_cast<double>(factors.step);
    const double learning_rate = rate_of(p, factors), beta1 = factors.momentum.value_or(o_.beta1);
    const double correction1 = 1 - std::pow(beta1, step), correction2 = 1 - std::pow(o_.beta2, step);
    const AdamConstants constants{
        .beta1 = static_cast<float>(beta1),
        .one_minus_beta1 = static_cast<float>(1 - beta1),
        .beta2 = static_cast<float>(o_.beta2),
        .one_minus_beta2 = static_cast<float>(1 - o_.beta2),
        .step_size = static_cast<float>(learning_rate / correction1),
        .root_correction = static_cast<float>(1 / std::sqrt(correction2)),
        .eps = static_cast<float>(o_.eps),
        .gradient_decay = static_cast<float>(decoupled_ ? 0 : p.group.weight_decay),
        .weight_kept = static_cast<float>(1 - learning_rate * (decoupled_ ? p.group.weight_decay : 0))};
    return update_in_parallel(p.count, [&](std::int64_t begin, std::int64_t end) {
      return HWY_DYNAMIC_DISPATCH(adam_range)(p, begin, end, constants);
    });
  }

 private:
  AdamOptions o_;
  bool decoupled_;
};

}  // namespace

std::unique_ptr<Optimizer> adam(const AdamOptions& options) { return std::make_unique<Adam>(options, false); }
std::unique_ptr<Optimizer> adamw(const AdamOptions& options) { return std::make_unique<Adam>(options, true); }

}  // namespace facet::optim
#endif
