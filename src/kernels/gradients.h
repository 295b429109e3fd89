#pragma once

#include <cstdint>

/// What gradients go through before an update.
namespace facet::kernels {

/// Sum of squares; the same bits for any number of threads.
double sum_of_squares(const float* values, std::int64_t count);

/// sum = gradient, or with `add` sum += gradient. Returns the sum's sum of squares, as above, of the same pass.
double accumulate(const float* gradient, float* sum, std::int64_t count, bool add);

/// Whether none is NaN or infinite.
bool all_finite(const float* values, std::int64_t count);

}  // namespace facet::kernels
