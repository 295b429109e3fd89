#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/sgd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "optim/optimizer.h"
#include "optim/update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace facet::optim::HWY_NAMESPACE {

/// Returns whether the new weights, and therefore the buffer, are finite.
bool sgd_range(const UpdateOperands& p, std::int64_t begin, std::int64_t end, float rate, float momentum_factor,
               bool nesterov) {
  const FloatTag tag;
  const auto learning_rate = hn::Set(tag, rate);
  const auto momentum = hn::Set(tag, momentum_factor);
  const auto decay = static_cast<float>(p.group.weight_decay);
  float* const buffer = p.slots.empty() ? nullptr : p.slots[0];
  return update_weights(p, begin, end, [&](std::int64_t i, std::size_t n, Floats old_weight) FACET_VECTOR_BODY {
    const Floats g = decayed_gradient(p, i, n, old_weight, decay);
    Floats direction = g;
    if (buffer != nullptr) {
      const Floats b = hn::MulAdd(momentum, load(buffer + i, n), g);
      store(b, buffer + i, n);
      direction = nesterov ? hn::MulAdd(momentum, b, g) : b;
    }
    return hn::NegMulAdd(learning_rate, direction, old_weight);
  });
}

}  // namespace facet::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::optim {
namespace {

HWY_EXPORT(sgd_range);

class Sgd final : public Optimizer {
 public:
  explicit Sgd(const SgdOptions& options) : Optimizer(options.groups), o_(options) {}

  std::vector<std::string> slot_names() const override {
    if (o_.momentum == 0) return {};
    return {"momentum_buffer"};
  }

  bool update(const UpdateOperands& p, const UpdateFactors& factors, std::span<const double>) const override {
    const auto momentum = static_cast<float>(factors.momentum.value_or(o_.momentum));
    const auto rate = static_cast<float>(rate_of(p, factors));
    return update_in_parallel(p.count, [&](std::int64_t begin, std::int64_t end) {
      return HWY_DYNAMIC_DISPATCH(sgd_range)(p, begin, end, rate, momentum, o_.nesterov);
    });
  }

 private:
  SgdOptions o_;
};

}  // namespace

std::unique_ptr<Optimizer> sgd(const SgdOptions& options) { return std::make_unique<Sgd>(options); }

}  // namespace facet::optim
#endif
