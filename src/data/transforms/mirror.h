#pragma once

#include <cstdint>
#include <span>

namespace facet::data {

/// Mirrors an image, RGB {height, width, 3}, left to right, in place.
void mirror(std::span<std::uint8_t> pixels, int width);

}  // namespace facet::data
