// The transform of the weights for Winograd's convolutions; the sources that include this compile it once per target.
#if defined(FACET_KERNELS_WINOGRAD_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FACET_KERNELS_WINOGRAD_WEIGHTS_INL_H_
#undef FACET_KERNELS_WINOGRAD_WEIGHTS_INL_H_
#else
#define FACET_KERNELS_WINOGRAD_WEIGHTS_INL_H_
#endif

#include <functional>

#include "base/parallel.h"
#include "kernels/winograd_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

namespace winograd {
namespace {

constexpr int taps = 9;

/// Where the nine weights from input channel k to output channel n begin, and whether they are turned by 180 degrees.
struct WeightOrder {
  const float* weights;
  std::int64_t from_k, from_n;
  bool turned;
};

/// Loads nine vectors, one per tap; each lane is an output channel from `n` on. Lanes from `count` on are zero.
HWY_INLINE void gather_taps(const WeightOrder& order, std::int64_t k, std::int64_t n, std::int64_t count,
                            Floats* tile) {
  HWY_ALIGN float gathered[taps][hn::MaxLanes(FloatTag())] = {};
  for (std::int64_t lane = 0; lane < std::min(count, static_cast<std::int64_t>(lanes())); ++lane) {
    const float* from = order.weights + k * order.from_k + (n + lane) * order.from_n;
    for (int tap = 0; tap < taps; ++tap) gathered[order.turned ? taps - 1 - tap : tap][lane] = from[tap];
  }
  for (int tap = 0; tap < taps; ++tap) tile[tap / 3 * tile_in + tap % 3] = hn::LoadU(FloatTag(), gathered[tap]);
}

template <class P>
void transform_all_weights(const float* weights, std::int64_t in_channels, std::int64_t out_channels,
                           WinogradWeights direction, float* transformed) {
  const bool forward = direction == WinogradWeights::forward;
  const WeightOrder order{weights, forward ? taps : out_channels * taps, forward ? in_channels * taps : taps, !forward};
  const std::int64_t width = block_width();
  const std::int64_t vectors = round_up(out_channels, width) / static_cast<std::int64_t>(lanes());
  const std::int64_t depth = (in_channels + P::numbers - 1) / P::numbers;
  const auto body = [&](std::int64_t begin, std::int64_t end) HWY_ATTR {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t n = item / depth * static_cast<std::int64_t>(lanes()), k = item % depth;
      float* panel = transformed + n / width * depth * width + n % width;
      Floats word[P::numbers][points];
      for (int i = 0; i < P::numbers; ++i) {
        const std::int64_t channel = k * P::numbers + i;
        gather_taps(order, channel, n, channel < in_channels ? out_channels - n : 0, word[i]);
        transform_tile<3, tile_in>(word[i], transform_weights<tile_in>, transform_weights<1>);
      }
      P::store_words(word, panel + k * width, depth * round_up(out_channels, width));
    }
  };
  // Vectors of output channels alone are too few for many threads.
  constexpr std::int64_t grain = 2;
  base::parallel_for(vectors * depth, grain, std::ref(body));
}

template <class P>
std::int64_t weights_size(std::int64_t in_channels, std::int64_t out_channels) {
  return points * ((in_channels + P::numbers - 1) / P::numbers) * round_up(out_channels, block_width());
}

}  // namespace
}  // namespace winograd

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
