#pragma once

#include <cstdint>
#include <span>

#include "base/random.h"
#include "facet/dataset.h"
#include "facet/image.h"

namespace facet::data {

/// The random transforms of an image. The numbers are part of what is drawn, so they must not change.
enum class Transform : std::uint32_t { flip = 0 };

/// Returns the random numbers of a transform of an image: a function of the request's seed, epoch and index, and of the
/// transform. Each transform draws from numbers of its own, so that adding one changes no other.
base::RandomStream draws_of(const LoadRequest& request, Transform transform);

/// What is done to an image before it joins a batch. The data set resizes it as part of loading, which lets a decoder
/// leave out detail that isn't needed; the other transforms follow.
struct Transforms {
  ImageSize size = 224;
  ResizeMode resize = ResizeMode::squash;
  bool flip = false;  ///< mirror with probability 1/2
  std::uint64_t seed = 0;

  /// Returns what the data set is asked for.
  LoadRequest request(std::int64_t index, std::int64_t epoch) const;
  /// Transforms the pixels that the data set has loaded, {height, width, 3}, in place.
  void apply(const LoadRequest& request, std::span<std::uint8_t> pixels) const;
};

}  // namespace facet::data
