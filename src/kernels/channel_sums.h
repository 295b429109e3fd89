#pragma once

#include <cstdint>

namespace facet::kernels {

/// Channels-last numbers {rows, channels}.
struct ChannelSumsShape {
  std::int64_t rows, channels;
  std::int64_t threads;  ///< that the work is cut for, whatever runs it: the scratch memory depends on it
};

/// Floats of scratch memory.
std::int64_t channel_sums_scratch(const ChannelSumsShape& shape);

/// sums[c] = sum of x[row, c] over the rows, as a bias' gradient is. T is float or, for bf16, std::uint16_t. Sums are
/// in f32, by blocks of rows; the same shape, its threads included, gives the same bits.
template <class T>
void channel_sums(const ChannelSumsShape& shape, const T* x, float* sums, float* scratch);

}  // namespace facet::kernels
