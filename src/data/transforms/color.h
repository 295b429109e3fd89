#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "data/decode/scratch.h"
#include "facet/image.h"

namespace facet::data {

// Changes of colours, in place, of RGB pixels {height, width, 3}. They have the formulas of torchvision's functions of
// these names for tensors of 8 bits, which cut off fractions, and give the same pixels on every CPU. A ColorChange is
// computed in fixed point, so that values may be a level away from torchvision's: mostly a few in a hundred, and up to a
// fifth where the fractions of many products are near that of a level.

/// A change that blends each pixel with another value: factor * pixel + (1 - factor) * other.
enum class ColorChange : std::uint8_t {
  brightness,  ///< with black
  contrast,    ///< with the mean of the image's grey values
  saturation,  ///< with the pixel's grey value
  hue          ///< none of these: turns the hue by `factor` turns of the colour circle
};

struct ColorStep {
  ColorChange change;
  float factor;
};

/// Applies changes one after the other, in as few passes over the image as the means for `contrast` allow.
void change_colors(std::span<std::uint8_t> pixels, std::span<const ColorStep> steps);

/// Replaces each pixel by its grey value.
void to_grayscale(std::span<std::uint8_t> pixels);

/// Blends each pixel but those of the border with the weighted mean of its neighbours; a factor of 0 smooths, and one
/// above 1 sharpens. An image of fewer than three rows or columns stays as it is.
void change_sharpness(std::span<std::uint8_t> pixels, ImageSize size, float factor, Scratch& scratch);

/// Keeps the `bits` highest bits of each value, 0 to 8.
void posterize(std::span<std::uint8_t> pixels, int bits);
/// Inverts the values from `threshold` on.
void solarize(std::span<std::uint8_t> pixels, float threshold);
/// Stretches the values of each channel to 0 to 255.
void stretch_contrast(std::span<std::uint8_t> pixels);
/// Makes the histogram of each channel as even as possible.
void equalize(std::span<std::uint8_t> pixels);

}  // namespace facet::data
