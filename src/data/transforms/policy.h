#pragma once

#include <cstdint>
#include <span>

#include "base/random.h"
#include "data/decode/scratch.h"
#include "data/transforms/affine.h"
#include "facet/augmentation.h"
#include "facet/image.h"

namespace facet::data {

/// The operations of RandAugment and TrivialAugmentWide, in torchvision's order.
enum class Operation : std::uint8_t {
  identity,
  shear_x,
  shear_y,
  translate_x,
  translate_y,
  rotate,
  brightness,
  color,
  contrast,
  sharpness,
  posterize,
  solarize,
  auto_contrast,
  equalize
};
inline constexpr int operations = 14;

/// An operation and how strong it is: a slope of the shear, pixels, degrees, a factor less 1, bits or a threshold, with
/// the sign that was drawn for it.
struct PolicyStep {
  Operation operation = Operation::identity;
  double magnitude = 0;
};

/// How pixels that an operation moves are computed, and the colour that is around the image.
struct Filling {
  Interpolation interpolation = Interpolation::bilinear;
  Color color = {};
};

/// Draws one of the operations of RandAugment. @param magnitude 0 to 30.
PolicyStep draw_rand_augment(base::RandomStream& draws, std::int64_t magnitude, ImageSize size);
/// Draws the operation of TrivialAugmentWide, and its magnitude.
PolicyStep draw_trivial_augment(base::RandomStream& draws);

/// Changes an image, RGB {height, width, 3}, in place (torchvision: autoaugment's _apply_op).
void apply(const PolicyStep& step, std::span<std::uint8_t> pixels, ImageSize size, const Filling& filling,
           Scratch& scratch);

}  // namespace facet::data
