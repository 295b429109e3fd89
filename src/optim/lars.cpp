#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/lars.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "optim/gradients.h"
#include "optim/optimizer.h"
#include "optim/update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace facet::optim::HWY_NAMESPACE {

/// Writes the sums of the squares of the weights and of the gradients.
void lars_sums(const UpdateOperands& p, std::int64_t begin, std::int64_t count, double* sums) {
  Floats weights = hn::Zero(FloatTag()), gradients = hn::Zero(FloatTag());
  for_each_vector(count, [&](std::int64_t offset, std::size_t n) FACET_VECTOR_BODY {
    const Floats weight = load(p.weight + begin + offset, n);
    const Floats gradient = decayed_gradient(p, begin + offset, n, weight, 0);
    weights = hn::MulAdd(weight, weight, weights);
    gradients = hn::MulAdd(gradient, gradient, gradients);
  });
  sums[0] = sum_of_lanes(weights);
  sums[1] = sum_of_lanes(gradients);
}

/// @param rate the learning rate times the trust ratio.
/// Returns whether the new weights, and therefore the buffer, are finite.
bool lars_range(const UpdateOperands& p, std::int64_t begin, std::int64_t end, float rate, float momentum_factor) {
  const FloatTag tag;
  const auto local_rate = hn::Set(tag, rate);
  const auto momentum = hn::Set(tag, momentum_factor);
  const auto decay = static_cast<float>(p.group.weight_decay);
  float* const buffer = p.slots[0];
  return update_weights(p, begin, end, [&](std::int64_t i, std::size_t n, Floats old_weight) FACET_VECTOR_BODY {
    const Floats g = decayed_gradient(p, i, n, old_weight, decay);
    const Floats b = hn::MulAdd(local_rate, g, hn::Mul(momentum, load(buffer + i, n)));
    store(b, buffer + i, n);
    return hn::Sub(old_weight, b);
  });
}

}  // namespace facet::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::optim {
namespace {

HWY_EXPORT(lars_sums);
HWY_EXPORT(lars_range);

class Lars final : public Optimizer {
 public:
  explicit Lars(const LarsOptions& options) : Optimizer(options.groups), o_(options) {}

  std::vector<std::string> slot_names() const override { return {"momentum_buffer"}; }
  std::size_t sum_count() const override { return 2; }

  void sum(const UpdateOperands& p, const UpdateFactors&, std::span<double> sums) const override {
    const auto sum_block = [&](std::int64_t begin, std::int64_t count, double* block) {
      HWY_DYNAMIC_DISPATCH(lars_sums)(p, begin, count, block);
    };
    sum_blocks(p.count, sums, std::ref(sum_block));
  }

  bool update(const UpdateOperands& p, const UpdateFactors& factors, std::span<const double> sums) const override {
    if (!std::isfinite(sums[1])) return false;  // else the ratio would be 0
    const double weight = std::sqrt(sums[0]), gradient = std::sqrt(sums[1]);
    const bool has_ratio = p.group.has_trust_ratio && weight > 0 && gradient > 0;
    const double ratio = has_ratio ? o_.trust_coefficient * weight / (gradient + p.group.weight_decay * weight) : 1;
    const auto rate = static_cast<float>(rate_of(p, factors) * ratio);
    const auto momentum = static_cast<float>(o_.momentum == 0 ? 0 : factors.momentum.value_or(o_.momentum));
    return update_in_parallel(p.count, [&](std::int64_t begin, std::int64_t end) {
      return HWY_DYNAMIC_DISPATCH(lars_range)(p, begin, end, rate, momentum);
    });
  }

 private:
  LarsOptions o_;
};

}  // namespace

std::unique_ptr<Optimizer> lars(const LarsOptions& options) { return std::make_unique<Lars>(options); }

}  // namespace facet::optim
#endif
