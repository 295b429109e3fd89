#pragma once

#include <cstdint>

namespace facet::kernels {

/// Max pooling of images by a square window, and the images' extents.
struct MaxPoolShape {
  std::int64_t height, width;
  std::int64_t kernel, stride, padding;
  std::int64_t out_height, out_width;
};

/// Forward keeps the index of each maximum in its window for backward, row * kernel + column, as oneDNN's workspace
/// does; or this if no gradient passes to it, since the activation before the pooling is flat there.
constexpr std::uint8_t no_gradient = 255;

/// The largest kernel whose indices are less than no_gradient.
constexpr std::int64_t largest_max_pool_kernel = 15;

}  // namespace facet::kernels
