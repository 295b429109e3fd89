#pragma once

#include <vector>

#include "facet/tensor_types.h"

namespace facet::ops {

/// @throws Error unless there are `count` inputs.
void require_inputs(const std::vector<Shape>& inputs, std::size_t count);

/// Returns the shape if it is {channels, height, width}. @throws Error otherwise.
const Shape& require_image(const Shape& shape);

/// Output extent of a sliding window, rounded down. @throws Error when the window doesn't fit, when it is invalid, or
/// when a value is above 2^30.
std::int64_t window_extent(std::int64_t extent, std::int64_t kernel, std::int64_t stride, std::int64_t padding);

}  // namespace facet::ops
