#pragma once

#include <cstdint>
#include <functional>
#include <span>

/// Kernels over whole gradients and parameters, and sums over them that have the same bits for any number of threads.
namespace facet::optim {

/// Sum of squares.
double sum_of_squares(const float* values, std::int64_t count);

/// sum = gradient, or sum += gradient if `add`. Returns the sum of squares of `sum`, computed in the same pass as
/// sum_of_squares computes it.
double accumulate(const float* gradient, float* sum, std::int64_t count, bool add);

/// Whether all values are finite.
bool all_finite(const float* values, std::int64_t count);

/// average += (1 - decay) * (values - average): an exponential moving average. A decay of 0 copies.
void average(const float* values, float* average, std::int64_t count, double decay);

/// The most elements of a block of sum_blocks(). Their terms may be summed in f32, in vector lanes, before the block's
/// sum is added in f64.
inline constexpr std::int64_t block_elements = 4096;

/// Adds the sums of each block of `count` elements to `sums`, in the blocks' order.
/// @param sums at most 2 numbers.
/// @param sum_block writes the sums of `count` elements from `begin` on; called for several blocks at a time, in
///   parallel.
void sum_blocks(std::int64_t count, std::span<double> sums,
                const std::function<void(std::int64_t begin, std::int64_t count, double* sums)>& sum_block);

}  // namespace facet::optim
