#pragma once

#include <cstdint>

/// Adaptive average pooling.
namespace facet::kernels {

/// From {images, height, width, channels} to {images, out_height, out_width, channels}, channels-last.
struct AdaptivePoolShape {
  std::int64_t images, channels, height, width, out_height, out_width;
};
/// A range of rows or columns.
struct AdaptiveWindow {
  std::int64_t begin, end;
  std::int64_t size() const { return end - begin; }
};
/// The window of inputs, out of `extent`, that output i of `count` averages. With count and extent exchanged: the
/// window of outputs whose averages include input i.
inline AdaptiveWindow adaptive_window(std::int64_t i, std::int64_t count, std::int64_t extent) {
  return {i * extent / count, ((i + 1) * extent + count - 1) / count};
}
/// Averages over windows of rows and columns, in f32 or bf16; sums are in f32.
void adaptive_average_pool_forward(const AdaptivePoolShape& shape, const float* x, float* y);
void adaptive_average_pool_forward(const AdaptivePoolShape& shape, const std::uint16_t* x, std::uint16_t* y);
void adaptive_average_pool_backward(const AdaptivePoolShape& shape, const float* diff_y, float* diff_x);
void adaptive_average_pool_backward(const AdaptivePoolShape& shape, const std::uint16_t* diff_y, std::uint16_t* diff_x);

}  // namespace facet::kernels
