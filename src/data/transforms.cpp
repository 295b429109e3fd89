#include "data/transforms.h"

#include "data/decode/resize.h"

namespace facet::data {

base::RandomStream draws_of(const LoadRequest& request, Transform transform) {
  // A data set has at most 2^32 - 1 images, so the upper half of the word is free.
  const std::uint64_t image = static_cast<std::uint64_t>(transform) << 32 | static_cast<std::uint64_t>(request.index);
  return {request.seed, base::Purpose::augmentation, static_cast<std::uint64_t>(request.epoch), image};
}

LoadRequest Transforms::request(std::int64_t index, std::int64_t epoch) const {
  return {.index = index, .size = size, .resize = resize, .seed = seed, .epoch = epoch};
}

void Transforms::apply(const LoadRequest& request, std::span<std::uint8_t> pixels) const {
  if (flip && draws_of(request, Transform::flip).uniform() < 0.5F) mirror(pixels, size.width);
}

}  // namespace facet::data
