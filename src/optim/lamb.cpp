#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/lamb.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "optim/gradients.h"
#include "optim/optimizer.h"
#include "optim/update-inl.h"

#ifndef FACET_OPTIM_LAMB_CONSTANTS
#define FACET_OPTIM_LAMB_CONSTANTS
namespace facet::optim {

struct LambConstants {
  float beta1, one_minus_beta1, beta2, one_minus_beta2, moment_correction, root_correction, eps, decay;
};

}  // namespace facet::optim
#endif

HWY_BEFORE_NAMESPACE();
namespace facet::optim::HWY_NAMESPACE {

/// The direction of the step, r + weight_decay * weight in the paper's terms.
HWY_INLINE Floats lamb_direction(const LambConstants& constants, Floats weight, Floats m, Floats v) {
  const FloatTag tag;
  const Floats denominator =
      hn::MulAdd(hn::Sqrt(v), hn::Set(tag, constants.root_correction), hn::Set(tag, constants.eps));
  const Floats adam = hn::Div(hn::Mul(hn::Set(tag, constants.moment_correction), m), denominator);
  return hn::MulAdd(hn::Set(tag, constants.decay), weight, adam);
}

/// Updates the moments; writes the sums of the squares of the weights and of the direction.
void lamb_sums(const UpdateOperands& p, std::int64_t begin, std::int64_t count, const LambConstants& constants,
               double* sums) {
  const FloatTag tag;
  const auto beta1 = hn::Set(tag, constants.beta1);
  const auto one_minus_beta1 = hn::Set(tag, constants.one_minus_beta1);
  const auto beta2 = hn::Set(tag, constants.beta2);
  const auto one_minus_beta2 = hn::Set(tag, constants.one_minus_beta2);
  Floats weights = hn::Zero(tag), directions = hn::Zero(tag);
  for_each_vector(count, [&](std::int64_t offset, std::size_t n) FACET_VECTOR_BODY {
    const std::int64_t i = begin + offset;
    const Floats weight = load(p.weight + i, n);
    const Floats g = decayed_gradient(p, i, n, weight, 0);
    const Floats m = hn::MulAdd(one_minus_beta1, g, hn::Mul(beta1, load(p.slots[0] + i, n)));
    const Floats v = hn::MulAdd(hn::Mul(one_minus_beta2, g), g, hn::Mul(beta2, load(p.slots[1] + i, n)));
    store(m, p.slots[0] + i, n);
    store(v, p.slots[1] + i, n);
    // Lanes beyond the end hold zeros, whose direction is 0 / eps, or NaN where eps is 0.
    const Floats all = lamb_direction(constants, weight, m, v);
    const Floats direction = n >= lanes() ? all : hn::IfThenElseZero(hn::FirstN(tag, n), all);
    weights = hn::MulAdd(weight, weight, weights);
    directions = hn::MulAdd(direction, direction, directions);
  });
  sums[0] = sum_of_lanes(weights);
  sums[1] = sum_of_lanes(directions);
}

/// @param rate the learning rate times the trust ratio.
/// Returns whether all values that the step wrote are finite.
bool lamb_range(const UpdateOperands& p, std::int64_t begin, std::int64_t end, const LambConstants& constants,
                float rate) {
  const FloatTag tag;
  const auto local_rate = hn::Set(tag, rate);
  Floats v_marks = hn::Zero(tag);  // where v overflows, the weight stays finite
  const bool finite =
      update_weights(p, begin, end, [&](std::int64_t i, std::size_t n, Floats old_weight) FACET_VECTOR_BODY {
        const Floats v = load(p.slots[1] + i, n);
        v_marks = add_mark(v_marks, v, n);
        const Floats direction = lamb_direction(constants, old_weight, load(p.slots[0] + i, n), v);
        return hn::NegMulAdd(local_rate, direction, old_weight);
      });
  return finite && has_no_mark(v_marks);
}

}  // namespace facet::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::optim {
namespace {

HWY_EXPORT(lamb_sums);
HWY_EXPORT(lamb_range);

class Lamb final : public Optimizer {
 public:
  explicit Lamb(const AdamOptions& options) : Optimizer(options.groups), o_(options) {}

  std::vector<std::string> slot_names() const override { return {"exp_avg", "exp_avg_sq"}; }
  std::size_t sum_count() const override { return 2; }

  void sum(const UpdateOperands& p, const UpdateFactors& factors, std::span<double> sums) const override {
    const LambConstants constants = constants_of(p, factors);
    const auto sum_block = [&](std::int64_t begin, std::int64_t count, double* block) {
      HWY_DYNAMIC_DISPATCH(lamb_sums)(p, begin, count, constants, block);
    };
    sum_blocks(p.count, sums, std::ref(sum_block));
  }

  bool update(const UpdateOperands& p, const UpdateFactors& factors, std::span<const double> sums) const override {
    const bool has_ratio = p.group.has_trust_ratio && sums[0] > 0 && sums[1] > 0;
    const double ratio = has_ratio ? std::sqrt(sums[0]) / std::sqrt(sums[1]) : 1;
    const auto rate = static_cast<float>(rate_of(p, factors) * ratio);
    const LambConstants constants = constants_of(p, factors);
    return update_in_parallel(p.count, [&](std::int64_t begin, std::int64_t end) {
      return HWY_DYNAMIC_DISPATCH(lamb_range)(p, begin, end, constants, rate);
    });
  }

 private:
  LambConstants constants_of(const UpdateOperands& p, const UpdateFactors& factors) const {
    const auto step = static_cast<double>(factors.step);
    const double beta1 = factors.momentum.value_or(o_.beta1);
    return {.beta1 = static_cast<float>(beta1),
            .one_minus_beta1 = static_cast<float>(1 - beta1),
            .beta2 = static_cast<float>(o_.beta2),
            .one_minus_beta2 = static_cast<float>(1 - o_.beta2),
            .moment_correction = static_cast<float>(1 / (1 - std::pow(beta1, step))),
            .root_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(o_.beta2, step))),
            .eps = static_cast<float>(o_.eps),
            .decay = static_cast<float>(p.group.weight_decay)};
  }

  AdamOptions o_;
};

}  // namespace

std::unique_ptr<Optimizer> lamb(const AdamOptions& options) { return std::make_unique<Lamb>(options); }

}  // namespace facet::optim
#endif
