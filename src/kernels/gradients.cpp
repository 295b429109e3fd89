#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gradients.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/parallel.h"
#include "kernels/lanes-inl.h"
#include "kernels/update.h"

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

/// Returns the sum of squares of the new sum.
/// @param sum null: `gradient` is only squared.
double accumulate_block(const float* gradient, float* sum, std::int64_t count, bool add) {
  const FloatTag tag;
  Floats squares = hn::Zero(tag);
  for_each_vector(count, [&](std::int64_t i, std::size_t n) FACET_VECTOR_BODY {
    Floats value = load(gradient + i, n);
    if (add) value = hn::Add(value, load(sum + i, n));
    if (sum != nullptr) store(value, sum + i, n);
    squares = hn::MulAdd(value, value, squares);
  });
  HWY_ALIGN float lane_sums[hn::MaxLanes(tag)];
  hn::Store(squares, tag, lane_sums);
  return std::accumulate(lane_sums, lane_sums + lanes(), 0.0);
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::kernels {

HWY_EXPORT(accumulate_block);

namespace {

/// Elements whose squares are summed in f32, per lane, before their sum is added in f64.
constexpr std::int64_t block = 4096;
/// Blocks whose sums are held at a time, in a fixed array so that nothing is allocated.
constexpr std::int64_t held_blocks = 1024;

double accumulate_all(const float* gradient, float* sum, std::int64_t count, bool add) {
  std::array<double, held_blocks> sums;
  double total = 0;
  for (std::int64_t first = 0; first < count; first += held_blocks * block) {
    const std::int64_t blocks = std::min(held_blocks, (count - first + block - 1) / block);
    const auto body = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin; b < end; ++b) {
        const std::int64_t i = first + b * block;
        sums[static_cast<std::size_t>(b)] = HWY_DYNAMIC_DISPATCH(accumulate_block)(
            gradient + i, sum == nullptr ? nullptr : sum + i, std::min(block, count - i), add);
      }
    };
    constexpr std::int64_t grain = 2;
    base::parallel_for(blocks, grain, std::ref(body));
    total = std::accumulate(sums.begin(), sums.begin() + blocks, total);
  }
  return total;
}

}  // namespace

double sum_of_squares(const float* values, std::int64_t count) { return accumulate_all(values, nullptr, count, false); }

double accumulate(const float* gradient, float* sum, std::int64_t count, bool add) {
  return accumulate_all(gradient, sum, count, add);
}

bool all_finite(const float* values, std::int64_t count) {
  bool finite = true;  // no early exit, so that the compiler vectorises the loop
  for (std::int64_t i = 0; i < count; ++i) finite &= std::abs(values[i]) <= std::numeric_limits<float>::max();
  return finite;
}

}  // namespace facet::kernels
#endif
