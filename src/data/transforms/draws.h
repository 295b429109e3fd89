#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "base/random.h"
#include "data/decode/region.h"
#include "data/transforms/affine.h"
#include "data/transforms/color.h"
#include "facet/augmentation.h"
#include "facet/dataset.h"
#include "facet/image.h"

namespace facet::data {

/// What random numbers are drawn for. The numbers are part of what is drawn, so they must not change.
enum class Transform : std::uint32_t {
  flip = 0,
  random_resized_crop = 1,
  rand_augment = 2,
  trivial_augment = 3,
  rotation = 4,
  affine = 5,
  color_jitter = 6,
  grayscale = 7,
  blur = 8,
  random_erasing = 9,
  mix = 10  ///< drawn for the first image of a group
};

/// Returns the random numbers of a transform of an image: a function of the request's seed, epoch and index, and of the
/// transform. Each transform draws from numbers of its own, so that adding one changes no other.
base::RandomStream draws_of(const LoadRequest& request, Transform transform);

/// Draws whether something of that probability happens.
bool draw(base::RandomStream& draws, double probability);

// What the transforms draw, as torchvision's get_params do.

/// Draws the part of RandomResizedCrop. @param least the least share of the area of an image of extents `whole`.
Region draw_crop(base::RandomStream& draws, ImageSize whole, double least);
/// Draws the rectangle of RandomErasing; none where ten rectangles that were drawn don't fit.
std::optional<Region> draw_erased(base::RandomStream& draws, ImageSize size);
/// Draws the map of RandomAffine.
AffineMap draw_affine(base::RandomStream& draws, const AffineRange& range, ImageSize size);

/// The changes of ColorJitter, in the order that was drawn.
struct ColorSteps {
  std::array<ColorStep, 4> steps = {};
  std::size_t count = 0;

  std::span<const ColorStep> all() const { return std::span(steps).first(count); }
};
ColorSteps draw_colors(base::RandomStream& draws, const ColorRange& range);

/// Draws from Beta(alpha, alpha). alpha is above 0.
double draw_beta(base::RandomStream& draws, double alpha);

}  // namespace facet::data
