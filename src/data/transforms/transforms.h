#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "data/decode/region.h"
#include "data/decode/scratch.h"
#include "data/transforms/affine.h"
#include "data/transforms/draws.h"
#include "data/transforms/policy.h"
#include "facet/augmentation.h"
#include "facet/dataset.h"
#include "facet/image.h"

namespace facet::data {

/// Returns the part of an image that a request is for, of the upright image in full size; empty where the whole image
/// is resized.
std::optional<Region> crop_of(const LoadRequest& request, ImageSize whole);

/// What is done to an image before it joins a batch. The data set crops and resizes it as part of loading, which lets a
/// decoder leave out what isn't needed; the other transforms follow.
struct Transforms {
  ImageSize size = 224;
  ResizeMode resize = ResizeMode::squash;
  bool flip = false;  ///< mirror with probability 1/2
  Augmentation augmentation = {};
  Color fill = {};  ///< the colour of what lies outside of an image, or is erased
  std::uint64_t seed = 0;

  /// Returns what the data set is asked for.
  /// @param occurrence how often the image has occurred in the epoch before.
  LoadRequest request(std::int64_t index, std::int64_t epoch, std::uint32_t occurrence = 0) const;
  /// Transforms the pixels that the data set has loaded, {height, width, 3}, in place.
  void apply(const LoadRequest& request, std::span<std::uint8_t> pixels, Scratch& scratch) const;
};

}  // namespace facet::data
