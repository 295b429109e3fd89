#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "data/transforms/color.h"

namespace facet::data {

// The loops of change_colors and change_sharpness over pixels, for the CPU's ISA.

/// Applies changes, of which there may be none, to each pixel.
/// @param mean the mean that `contrast` blends with.
/// @return the mean of the grey values of the result where it is wanted, otherwise 0.
float color_pass(std::span<std::uint8_t> pixels, std::span<const ColorStep> steps, float mean, bool wants_mean);

/// Computes `bytes` values of change_sharpness; the image has rows of `stride` bytes around `in`.
void sharpen_row(const std::uint8_t* in, std::ptrdiff_t stride, int bytes, float factor, std::uint8_t* out);

}  // namespace facet::data
