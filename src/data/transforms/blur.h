#pragma once

#include <cstdint>
#include <span>

#include "data/decode/scratch.h"
#include "facet/image.h"

namespace facet::data {

/// Returns the number of pixels to either side of a pixel over which gaussian_blur takes its mean: three standard
/// deviations, but not beyond the image's mirrored border.
int blur_radius(double sigma, ImageSize size);

/// Blurs an image, RGB {height, width, 3}, in place (torchvision: gaussian_blur with a kernel of 2 * blur_radius + 1):
/// each pixel becomes a mean with the weights of a normal distribution. The image is mirrored at its border. It gives
/// the same pixels on every CPU.
/// @param sigma the standard deviation in pixels, above 0.
void gaussian_blur(std::span<std::uint8_t> pixels, ImageSize size, double sigma, Scratch& scratch);

}  // namespace facet::data
