#include "data/transforms/transforms.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/decode/resize.h"
#include "data/transforms/blur.h"
#include "data/transforms/color.h"
#include "data/transforms/mirror.h"
#include "facet/error.h"

namespace facet::data {
namespace {

/// A row of an image is `stride` bytes.
void erase(const Region& region, const Color& fill, std::size_t stride, std::span<std::uint8_t> pixels) {
  if (region.width == 0) return;  // of a tiny image
  for (int y = region.top; y < region.top + region.height; ++y) {
    std::uint8_t* out = &pixels[static_cast<std::size_t>(y) * stride + static_cast<std::size_t>(region.left) * 3];
    for (int x = 0; x < region.width; ++x) out = std::ranges::copy(fill, out).out;
  }
}

}  // namespace

std::optional<Region> crop_of(const LoadRequest& request, ImageSize whole) {
  const double least = request.random_resized_crop;
  if (least == 0) return std::nullopt;
  if (!(least > 0 && least <= 1)) {
    throw Error(fmt::format("random_resized_crop is {}; 0 to 1 is allowed", least));
  }
  base::RandomStream draws = draws_of(request, Transform::random_resized_crop);
  return draw_crop(draws, whole, least);
}

LoadRequest Transforms::request(std::int64_t index, std::int64_t epoch, std::uint32_t occurrence) const {
  std::uint64_t drawn = seed;
  if (occurrence > 0) {
    base::RandomStream random(seed, base::Purpose::repetition, occurrence);
    drawn = std::uint64_t{random.bits()} << 32;
    drawn |= random.bits();
  }
  return {.index = index,
          .size = size,
          .resize = resize,
          .random_resized_crop = augmentation.random_resized_crop.value_or(0),
          .seed = drawn,
          .epoch = epoch};
}

void Transforms::apply(const LoadRequest& request, std::span<std::uint8_t> pixels, Scratch& scratch) const {
  const Filling filling{augmentation.interpolation, fill};
  const auto transform = [&](const AffineMap& map) {
    transform_affine(pixels, size, inverse_of(map, size), filling.interpolation, fill, scratch);
  };
  // Draws for a transform, and whether it is applied at all.
  const auto happens = [&](Transform which, const std::optional<double>& probability, const auto& body) {
    if (probability.value_or(0) <= 0) return;
    base::RandomStream draws = draws_of(request, which);
    if (draw(draws, *probability)) body(draws);
  };

  if (flip && draws_of(request, Transform::flip).uniform() < 0.5F) mirror(pixels, size.width);
  if (augmentation.trivial_augment) {
    base::RandomStream draws = draws_of(request, Transform::trivial_augment);
    data::apply(draw_trivial_augment(draws), pixels, size, filling, scratch);
  } else if (const RandAugmentOptions policy = augmentation.rand_augment.value_or(RandAugmentOptions());
             policy.operations > 0) {
    base::RandomStream draws = draws_of(request, Transform::rand_augment);
    for (std::int64_t i = 0; i < policy.operations; ++i) {
      data::apply(draw_rand_augment(draws, policy.magnitude, size), pixels, size, filling, scratch);
    }
  }
  if (const double degrees = augmentation.rotation.value_or(0); degrees > 0) {
    base::RandomStream draws = draws_of(request, Transform::rotation);
    transform(draw_affine(draws, {.degrees = degrees}, size));
  }
  if (const AffineRange range = augmentation.affine.value_or(AffineRange()); range != AffineRange()) {
    base::RandomStream draws = draws_of(request, Transform::affine);
    transform(draw_affine(draws, range, size));
  }
  if (augmentation.color_jitter) {
    base::RandomStream draws = draws_of(request, Transform::color_jitter);
    change_colors(pixels, draw_colors(draws, *augmentation.color_jitter).all());
  }
  happens(Transform::grayscale, augmentation.grayscale, [&](base::RandomStream&) { to_grayscale(pixels); });
  happens(Transform::blur, augmentation.blur,
          [&](base::RandomStream& draws) { gaussian_blur(pixels, size, double{draws.uniform(0.1F, 2.0F)}, scratch); });
  happens(Transform::random_erasing, augmentation.random_erasing, [&](base::RandomStream& draws) {
    const std::optional<Region> region = draw_erased(draws, size);
    if (region) erase(*region, fill, static_cast<std::size_t>(size.width) * 3, pixels);
  });
}

}  // namespace facet::data
