#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "data/decode/scratch.h"
#include "facet/augmentation.h"
#include "facet/image.h"

namespace facet::data {

using Color = std::array<std::uint8_t, 3>;

/// An affine map of an image: shear, then scale and rotation about `center`, then a shift.
struct AffineMap {
  double degrees = 0;                 ///< of the rotation, clockwise
  double right = 0, down = 0;         ///< the shift in pixels
  double scale = 1;                   ///< above 0
  double shear_x = 0, shear_y = 0;    ///< in degrees, below 90
  double center_x = 0, center_y = 0;  ///< in pixels from the image's centre
};

/// Where the value of the pixel at (x, y) comes from: (a x + b y + c, d x + e y + f). Pixels are points at whole
/// numbers.
struct InverseMap {
  double a = 1, b = 0, c = 0;
  double d = 0, e = 1, f = 0;
};
/// Returns the inverse of a map of images of that size (torchvision: F.affine).
InverseMap inverse_of(const AffineMap& map, ImageSize size);

/// Maps an image, RGB {height, width, 3}, in place (torchvision: F.affine and F.rotate). It gives the same pixels on
/// every CPU.
/// @param fill the colour around the image, with which its border is interpolated.
void transform_affine(std::span<std::uint8_t> pixels, ImageSize size, const InverseMap& map,
                      Interpolation interpolation, const Color& fill, Scratch& scratch);

}  // namespace facet::data
