#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "data/decode/region.h"
#include "data/decode/scratch.h"
#include "facet/augmentation.h"
#include "facet/dataset.h"
#include "facet/image.h"

namespace facet::data {

/// The number of consecutive images of a batch that Mixup and CutMix mix with one another.
inline constexpr std::int64_t mix_group = 8;

/// How the images of a group are mixed: image i with image (i + shift) % size.
struct Mix {
  std::size_t shift = 0;  ///< 0: they aren't mixed
  float own = 1;          ///< the weight of an image's own targets
  bool pastes = false;    ///< CutMix; false: Mixup
  Region pasted = {};     ///< CutMix: the rectangle of the other image

  /// Returns the number of the image that image `i`, of `size`, is mixed with.
  std::size_t partner(std::size_t i, std::size_t size) const { return (i + shift) % size; }
  /// Returns the number of the image whose partner is image `i`.
  std::size_t partner_of(std::size_t i, std::size_t size) const { return (i + size - shift) % size; }
};

/// Draws how a group is mixed. @param first what is requested of its first image.
/// @param images the number of images of the group, at least 1.
Mix draw_mix(const LoadRequest& first, std::size_t images, const Augmentation& augmentation);

/// Mixes images, each RGB {height, width, 3} of `size`, in place. One that is empty isn't mixed, and no image with it.
void mix_images(std::span<const std::span<std::uint8_t>> images, ImageSize size, const Mix& mix, Scratch& scratch);

/// Adds a class index to a distribution, {classes}, which is NaN as long as there is none.
void add_label(std::span<float> distribution, std::int32_t label, float weight);
/// Mixes values with those of another image; one of them that is NaN gives NaN.
void mix_values(std::span<float> own, std::span<const float> other, float own_weight);

}  // namespace facet::data
