#pragma once

#include <cstdint>

namespace facet::kernels {

/// Channels-last values {rows, channels}.
struct ChannelSumsShape {
  std::int64_t rows, channels;
  std::int64_t threads;  ///< threads that the work is divided for, however many run it; sets the scratch size
};

/// Floats of scratch memory that channel_sums needs.
std::int64_t channel_sums_scratch(const ChannelSumsShape& shape);

/// sums[c] = sum of x[row, c] over the rows, as for a bias's gradient. T is float or, for bf16, std::uint16_t. Sums are
/// in f32, by blocks of rows; the same shape, including its threads, gives the same bits.
template <class T>
void channel_sums(const ChannelSumsShape& shape, const T* x, float* sums, float* scratch);

}  // namespace facet::kernels
