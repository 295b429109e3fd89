// What all update rules do with an element's gradient and weight; the rules' sources compile this once per target.
#if defined(FACET_OPTIM_UPDATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FACET_OPTIM_UPDATE_INL_H_
#undef FACET_OPTIM_UPDATE_INL_H_
#else
#define FACET_OPTIM_UPDATE_INL_H_
#endif

#include <atomic>
#include <functional>
#include <numeric>

#include "base/parallel.h"
#include "kernels/lanes-inl.h"
#include "optim/optimizer.h"

#ifndef FACET_OPTIM_UPDATE_RANGES
#define FACET_OPTIM_UPDATE_RANGES
namespace facet::optim {

/// Elements that a thread updates at least.
inline constexpr std::int64_t update_grain = 8192;

/// Runs `update_range`(begin, end), which returns whether what it wrote is finite, on ranges of `count` elements in
/// parallel. Returns whether all are.
template <class UpdateRange>
bool update_in_parallel(std::int64_t count, const UpdateRange& update_range) {
  std::atomic<bool> finite = true;
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    if (!update_range(begin, end)) finite = false;
  };
  base::parallel_for(count, update_grain, std::ref(body));
  return finite;
}

}  // namespace facet::optim
#endif

HWY_BEFORE_NAMESPACE();
namespace facet::optim::HWY_NAMESPACE {

using namespace facet::kernels::HWY_NAMESPACE;

/// The sum of a vector's lanes, in f64.
HWY_INLINE double sum_of_lanes(Floats values) {
  const FloatTag tag;
  HWY_ALIGN float lane_values[hn::MaxLanes(tag)];
  hn::Store(values, tag, lane_values);
  return std::accumulate(lane_values, lane_values + lanes(), 0.0);
}

/// gradient_scale * gradient + decay * weight; with a scale of 1 and no decay, it is the gradient to the bit.
HWY_INLINE Floats decayed_gradient(const UpdateOperands& target, std::int64_t i, std::size_t n, Floats weight,
                                   float decay) {
  const Floats gradient = hn::Mul(hn::Set(FloatTag(), target.gradient_scale), load(target.gradient + i, n));
  return decay == 0 ? gradient : hn::MulAdd(hn::Set(FloatTag(), decay), weight, gradient);
}

/// Marks non-finite values: 0 * value is 0 if the value is finite and NaN otherwise, and NaN stays in the sum.
HWY_INLINE Floats add_mark(Floats marks, Floats value, std::size_t n) {
  const FloatTag tag;
  const Floats counted = n >= lanes() ? value : hn::IfThenElseZero(hn::FirstN(tag, n), value);
  return hn::MulAdd(counted, hn::Zero(tag), marks);
}

HWY_INLINE bool has_no_mark(Floats marks) { return hn::AllFalse(FloatTag(), hn::IsNaN(marks)); }

/// Updates the elements of an average as average() does; `share` is 1 - decay.
HWY_INLINE void store_average(Floats value, float* average, std::size_t n, float share) {
  const Floats before = load(average, n);
  const Floats moved = hn::MulAdd(hn::Set(FloatTag(), share), hn::Sub(value, before), before);
  store(share == 1 ? value : moved, average, n);
}

HWY_INLINE void store_weight(Floats weight, const UpdateOperands& target, std::int64_t i, std::size_t n) {
  store(weight, target.weight + i, n);
  if (target.weight_bf16 != nullptr) store(weight, target.weight_bf16 + i, n);
  if (target.average != nullptr) {
    store_average(weight, target.average + i, n, static_cast<float>(1 - target.average_decay));
  }
}

/// Stores step(i, n, weight) as the weight of each vector of [begin, end). Returns whether all new weights are finite.
template <class Step>
HWY_INLINE bool update_weights(const UpdateOperands& p, std::int64_t begin, std::int64_t end, const Step& step) {
  Floats marks = hn::Zero(FloatTag());
  for_each_vector(end - begin, [&](std::int64_t offset, std::size_t n) FACET_VECTOR_BODY {
    const std::int64_t i = begin + offset;
    const Floats weight = step(i, n, load(p.weight + i, n));
    store_weight(weight, p, i, n);
    marks = add_mark(marks, weight, n);
  });
  return has_no_mark(marks);
}

}  // namespace facet::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
