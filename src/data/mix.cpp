#include "data/mix.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "data/transforms/blend.h"
#include "data/transforms/draws.h"

namespace facet::data {
namespace {

/// Draws the rectangle of CutMix: its centre is anywhere in the image, its sides are the image's times the root of
/// `share`, and what lies outside of the image is cut off.
Region draw_pasted(base::RandomStream& draws, ImageSize size, double share) {
  const double half = 0.5 * std::sqrt(share);
  const auto side = [&](int length) {
    const int center = static_cast<int>(draws.below(static_cast<std::uint32_t>(length)));
    const int reach = static_cast<int>(half * length);
    return std::pair(std::max(center - reach, 0), std::min(center + reach, length));
  };
  const auto [left, right] = side(size.width);
  const auto [top, bottom] = side(size.height);
  return {.left = left, .top = top, .width = right - left, .height = bottom - top};
}

void paste(std::span<std::uint8_t> own, std::span<const std::uint8_t> other, const Region& region, ImageSize size) {
  const std::ptrdiff_t stride = std::ptrdiff_t{size.width} * 3;
  for (int y = region.top; y < region.top + region.height; ++y) {
    const std::ptrdiff_t at = y * stride + std::ptrdiff_t{region.left} * 3;
    std::copy_n(other.begin() + at, std::ptrdiff_t{region.width} * 3, own.begin() + at);
  }
}

}  // namespace

Mix draw_mix(const LoadRequest& first, std::size_t images, const Augmentation& augmentation) {
  const double mixup = augmentation.mixup.value_or(0), cutmix = augmentation.cutmix.value_or(0);
  Mix mix;
  if ((mixup <= 0 && cutmix <= 0) || images < 2) return mix;
  base::RandomStream draws = draws_of(first, Transform::mix);
  mix.shift = 1 + draws.below(static_cast<std::uint32_t>(images - 1));
  const bool second = draws.below(2) == 1;
  mix.pastes = mixup <= 0 || (cutmix > 0 && second);
  const double own = draw_beta(draws, mix.pastes ? cutmix : mixup);
  if (mix.pastes) {
    mix.pasted = draw_pasted(draws, first.size, 1 - own);
    const double area = static_cast<double>(first.size.width) * first.size.height;
    mix.own = static_cast<float>(1 - static_cast<double>(mix.pasted.width) * mix.pasted.height / area);
  } else {
    constexpr int one = 1 << blend_bits;
    mix.own = static_cast<float>(std::lround(own * one)) / one;  // the weight that pixels have
  }
  if (mix.own == 1) mix.shift = 0;
  return mix;
}

void mix_images(std::span<const std::span<std::uint8_t>> images, ImageSize size, const Mix& mix, Scratch& scratch) {
  if (mix.shift == 0) return;
  const int weight = static_cast<int>(std::lround(mix.own * (1 << blend_bits)));
  const auto mix_with = [&](std::span<std::uint8_t> own, std::span<const std::uint8_t> other) {
    if (own.empty() || other.empty()) return;
    mix.pastes ? paste(own, other, mix.pasted, size) : blend(own, other, weight);
  };
  // Partners form cycles. The first image of each cycle is kept as it is for the last one.
  std::vector<std::uint8_t> kept = scratch.take(static_cast<std::size_t>(size.width) * size.height * 3);
  const std::size_t cycles = std::gcd(mix.shift, images.size());
  for (std::size_t start = 0; start < cycles; ++start) {
    const std::span<const std::uint8_t> first(kept.data(), images[start].size());
    std::ranges::copy(images[start], kept.begin());
    std::size_t i = start, other = mix.partner(start, images.size());
    for (; other != start; i = other, other = mix.partner(i, images.size())) mix_with(images[i], images[other]);
    mix_with(images[i], first);
  }
  scratch.give(std::move(kept));
}

void add_label(std::span<float> distribution, std::int32_t label, float weight) {
  if (label == no_label || weight <= 0) return;
  if (std::isnan(distribution[0])) std::ranges::fill(distribution, 0.0F);
  distribution[static_cast<std::size_t>(label)] += weight;
}

void mix_values(std::span<float> own, std::span<const float> other, float own_weight) {
  for (std::size_t i = 0; i < own.size(); ++i) own[i] = own_weight * own[i] + (1 - own_weight) * other[i];
}

}  // namespace facet::data
