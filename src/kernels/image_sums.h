#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>

#include "base/parallel.h"
#include "kernels/loss.h"

namespace facet::kernels {

/// Images that a thread takes at a time.
inline std::int64_t image_grain(std::int64_t outputs) {
  return std::max<std::int64_t>(1, 1024 / std::max<std::int64_t>(1, outputs));
}

/// Sums of one image's loss that `image_loss(n)` returns, in the order of the images for any number of threads. They
/// are taken in blocks, so that nothing is allocated.
template <class Function>
LossSums sum_images(std::int64_t images, std::int64_t outputs, const Function& image_loss) {
  constexpr std::int64_t block = 512;
  std::array<LossSums, block> losses;
  LossSums sums;
  for (std::int64_t first = 0; first < images; first += block) {
    const std::int64_t count = std::min(block, images - first);
    const auto body = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) losses[static_cast<std::size_t>(i)] = image_loss(first + i);
    };
    base::parallel_for(count, image_grain(outputs), std::ref(body));
    for (std::int64_t i = 0; i < count; ++i) {
      const LossSums& image = losses[static_cast<std::size_t>(i)];
      sums.loss += image.loss;
      sums.labelled += image.labelled;
      sums.correct += image.correct;
      sums.weight += image.weight;
    }
  }
  return sums;
}

}  // namespace facet::kernels
