#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/channel_sums.cpp"
#include "kernels/channel_sums.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <functional>
#include <type_traits>

#include "base/parallel.h"
#include "kernels/cache_lines.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

/// Sums the rows [begin, end), each block on its own first.
template <class T>
void sum_rows(const T* x, std::int64_t begin, std::int64_t end, std::int64_t channels, float* sums) {
  constexpr std::int64_t block = 128;
  std::fill_n(sums, channels, 0.0F);
  for (std::int64_t first = begin; first < end; first += block) {
    const std::int64_t last = std::min(first + block, end);
    for_each_vector(channels, [&](std::int64_t c, std::size_t n) FACET_VECTOR_BODY {
      Floats sum = hn::Zero(FloatTag());
      for (std::int64_t row = first; row < last; ++row) sum = hn::Add(sum, load(x + row * channels + c, n));
      store(hn::Add(sum, load(sums + c, n)), sums + c, n);
    });
  }
}

void sum_rows_f32(const float* x, std::int64_t begin, std::int64_t end, std::int64_t channels, float* sums) {
  sum_rows(x, begin, end, channels, sums);
}
void sum_rows_bf16(const std::uint16_t* x, std::int64_t begin, std::int64_t end, std::int64_t channels, float* sums) {
  sum_rows(x, begin, end, channels, sums);
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::kernels {

HWY_EXPORT(sum_rows_f32);
HWY_EXPORT(sum_rows_bf16);

std::int64_t channel_sums_scratch(const ChannelSumsShape& shape) {
  return shape.threads * whole_cache_lines(shape.channels);
}

template <class T>
void channel_sums(const ChannelSumsShape& shape, const T* x, float* sums, float* scratch) {
  const std::int64_t pieces = std::min(shape.threads, shape.rows);
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      const std::int64_t first = piece * shape.rows / pieces;
      const std::int64_t last = (piece + 1) * shape.rows / pieces;
      float* own = scratch + piece * whole_cache_lines(shape.channels);
      if constexpr (std::is_same_v<T, float>) {
        HWY_DYNAMIC_DISPATCH(sum_rows_f32)(x, first, last, shape.channels, own);
      } else {
        HWY_DYNAMIC_DISPATCH(sum_rows_bf16)(x, first, last, shape.channels, own);
      }
    }
  };
  base::parallel_for(pieces, 1, std::ref(body));
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    double total = 0;
    for (std::int64_t piece = 0; piece < pieces; ++piece)
      total += scratch[piece * whole_cache_lines(shape.channels) + c];
    sums[c] = static_cast<float>(total);
  }
}

template void channel_sums<float>(const ChannelSumsShape&, const float*, float*, float*);
template void channel_sums<std::uint16_t>(const ChannelSumsShape&, const std::uint16_t*, float*, float*);

}  // namespace facet::kernels
#endif
