#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/gradients.cpp"
#include "optim/gradients.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "base/parallel.h"
#include "optim/update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace facet::optim::HWY_NAMESPACE {

/// Returns the sum of squares of the new sum.
/// @param sum null: `gradient` is only squared.
double accumulate_block(const float* gradient, float* sum, std::int64_t count, bool add) {
  Floats squares = hn::Zero(FloatTag());
  for_each_vector(count, [&](std::int64_t i, std::size_t n) FACET_VECTOR_BODY {
    Floats value = load(gradient + i, n);
    if (add) value = hn::Add(value, load(sum + i, n));
    if (sum != nullptr) store(value, sum + i, n);
    squares = hn::MulAdd(value, value, squares);
  });
  return sum_of_lanes(squares);
}

void average_range(const float* values, float* average, std::int64_t begin, std::int64_t end, float share) {
  for_each_vector(end - begin, [&](std::int64_t offset, std::size_t n) FACET_VECTOR_BODY {
    const std::int64_t i = begin + offset;
    store_average(load(values + i, n), average + i, n, share);
  });
}

}  // namespace facet::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::optim {

HWY_EXPORT(accumulate_block);
HWY_EXPORT(average_range);

void sum_blocks(std::int64_t count, std::span<double> sums,
                const std::function<void(std::int64_t begin, std::int64_t count, double* sums)>& sum_block) {
  constexpr std::int64_t held_blocks = 1024;  // in a fixed array, so that nothing is allocated
  constexpr std::size_t max_sums = 2;
  std::array<double, held_blocks * max_sums> held;
  for (std::int64_t first = 0; first < count; first += held_blocks * block_elements) {
    const std::int64_t blocks = std::min(held_blocks, (count - first + block_elements - 1) / block_elements);
    const auto body = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin; b < end; ++b) {
        const std::int64_t i = first + b * block_elements;
        sum_block(i, std::min(block_elements, count - i), held.data() + static_cast<std::size_t>(b) * sums.size());
      }
    };
    constexpr std::int64_t grain = 2;
    base::parallel_for(blocks, grain, std::ref(body));
    for (std::size_t i = 0; i < static_cast<std::size_t>(blocks) * sums.size(); ++i) sums[i % sums.size()] += held[i];
  }
}

double accumulate(const float* gradient, float* sum, std::int64_t count, bool add) {
  double total = 0;
  const auto sum_block = [&](std::int64_t begin, std::int64_t n, double* block) {
    *block = HWY_DYNAMIC_DISPATCH(accumulate_block)(gradient + begin, sum == nullptr ? nullptr : sum + begin, n, add);
  };
  sum_blocks(count, {&total, 1}, std::ref(sum_block));
  return total;
}

double sum_of_squares(const float* values, std::int64_t count) { return accumulate(values, nullptr, count, false); }

bool all_finite(const float* values, std::int64_t count) {
  bool finite = true;  // no early exit, so that the compiler vectorises the loop
  for (std::int64_t i = 0; i < count; ++i) finite &= std::abs(values[i]) <= std::numeric_limits<float>::max();
  return finite;
}

void average(const float* values, float* average, std::int64_t count, double decay) {
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(average_range)(values, average, begin, end, static_cast<float>(1 - decay));
  };
  base::parallel_for(count, update_grain, std::ref(body));
}

}  // namespace facet::optim
#endif
