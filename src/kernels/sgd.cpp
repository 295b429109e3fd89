#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sgd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <atomic>
#include <functional>

#include "base/parallel.h"
#include "kernels/update-inl.h"
#include "kernels/update.h"

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

/// Returns whether the new weights, and therefore the buffer, are finite.
bool sgd_range(const UpdateTarget& target, float* buffer, std::int64_t begin, std::int64_t end,
               const SgdFactors& factors) {
  const FloatTag tag;
  const auto learning_rate = hn::Set(tag, static_cast<float>(factors.learning_rate));
  const auto momentum = hn::Set(tag, static_cast<float>(factors.momentum));
  const auto decay = static_cast<float>(factors.weight_decay);
  Floats marks = hn::Zero(tag);
  for_each_vector(end - begin, [&](std::int64_t offset, std::size_t n) FACET_VECTOR_BODY {
    const std::int64_t i = begin + offset;
    const Floats old_weight = load(target.weight + i, n);
    const Floats g = decayed_gradient(target, i, n, old_weight, decay);
    Floats direction = g;
    if (buffer != nullptr) {
      const Floats b = hn::MulAdd(momentum, load(buffer + i, n), g);
      store(b, buffer + i, n);
      direction = factors.nesterov ? hn::MulAdd(momentum, b, g) : b;
    }
    const Floats weight = hn::NegMulAdd(learning_rate, direction, old_weight);
    store_weight(weight, target, i, n);
    marks = add_mark(marks, weight, n);
  });
  return has_no_mark(marks);
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::kernels {

HWY_EXPORT(sgd_range);

bool sgd(const UpdateTarget& target, float* buffer, const SgdFactors& factors) {
  std::atomic<bool> finite = true;
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    if (!HWY_DYNAMIC_DISPATCH(sgd_range)(target, buffer, begin, end, factors)) finite = false;
  };
  constexpr std::int64_t grain = 8192;
  base::parallel_for(target.count, grain, std::ref(body));
  return finite;
}

}  // namespace facet::kernels
#endif
