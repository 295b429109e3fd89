// Winograd's weight gradient, for any kind of products; the sources that include this compile it once per target.
#if defined(FACET_KERNELS_WINOGRAD_BACKWARD_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FACET_KERNELS_WINOGRAD_BACKWARD_WEIGHTS_INL_H_
#undef FACET_KERNELS_WINOGRAD_BACKWARD_WEIGHTS_INL_H_
#else
#define FACET_KERNELS_WINOGRAD_BACKWARD_WEIGHTS_INL_H_
#endif

#include <algorithm>
#include <functional>

#include "base/parallel.h"
#include "kernels/winograd_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

namespace winograd {
namespace {

/// How the sum over tiles is divided: each part of the tiles has sums of its own, {36, in_channels, out_channels},
/// which are added at the end in the order of the parts.
struct BackwardBlocks {
  std::int64_t tiles;               // per block
  std::int64_t words;               // words that hold one channel of a block's tiles
  std::int64_t row, plane;          // strides in words, of a channel's words and of points, of the transformed input
  std::int64_t out_row, out_plane;  // the same strides of the transformed gradient
  std::int64_t sums_row;            // floats between the sums of two input channels
  std::int64_t parts;               // parts of the tiles
  std::int64_t groups;              // groups of the output channels' blocks, if sums for more parts would be too large

  std::int64_t sums(const WinogradShape& shape) const { return points * shape.in_channels * sums_row; }
  std::int64_t task_scratch() const { return points * (plane + out_plane); }
};

template <class P>
BackwardBlocks plan_backward(const WinogradShape& shape) {
  const Tiles tiles(shape);
  BackwardBlocks blocks{};
  blocks.sums_row = round_up(shape.out_channels, block_width());
  // One cache line more than a power of two: otherwise a column of words, or all points of a tile, would map to few
  // sets of the cache.
  blocks.row = round_up(shape.in_channels, static_cast<std::int64_t>(lanes())) + cache_line;
  blocks.out_row = blocks.sums_row + cache_line;
  constexpr std::int64_t sums_limit = 1 << 26;  // floats
  const std::int64_t max_parts = std::max<std::int64_t>(1, sums_limit / blocks.sums(shape));
  blocks.parts = std::min({shape.threads, max_parts, tiles.count});
  blocks.groups = std::min(shape.threads / blocks.parts, blocks.sums_row / block_width());
  constexpr std::int64_t max_tiles = 48;
  blocks.tiles = std::min(max_tiles, (tiles.count + blocks.parts - 1) / blocks.parts);
  blocks.words = (blocks.tiles + P::numbers - 1) / P::numbers;
  blocks.plane = blocks.words * blocks.row + cache_line;
  blocks.out_plane = blocks.words * blocks.out_row + cache_line;
  return blocks;
}

/// Computes sum over tiles of v[t][r] * y[t][.], for Rows input channels and one block of output channels. Writes it to
/// sums[r][.] if `first`, and adds it otherwise; then it prefetches the sums of the next Rows input channels. With many
/// channels the sums don't fit into the second-level cache.
template <class P, int Rows>
HWY_INLINE void product(const float* HWY_RESTRICT v, std::int64_t row, const float* HWY_RESTRICT y,
                        std::int64_t out_row, std::int64_t words, bool first, float* HWY_RESTRICT to,
                        std::int64_t sums_row) {
  const FloatTag tag;
  if (!first) {
    for (int r = Rows; r < 2 * Rows; ++r) {
      for (std::int64_t i = 0; i < block_width(); i += cache_line) __builtin_prefetch(to + r * sums_row + i, 1);
    }
  }
  Floats sums[Rows][columns];
  for (int r = 0; r < Rows; ++r) {
    for (int j = 0; j < columns; ++j) {
      sums[r][j] = first ? hn::Zero(tag) : hn::LoadU(tag, to + r * sums_row + j * lanes());
    }
  }
  for (std::int64_t t = 0; t < words; ++t) {
    Floats gradients[columns];
    for (int j = 0; j < columns; ++j) gradients[j] = hn::LoadU(tag, y + t * out_row + j * lanes());
    for (int r = 0; r < Rows; ++r) {
      const Floats value = hn::Set(tag, v[t * row + r]);
      for (int j = 0; j < columns; ++j) sums[r][j] = P::multiply_add(value, gradients[j], sums[r][j]);
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int j = 0; j < columns; ++j) hn::StoreU(sums[r][j], tag, to + r * sums_row + j * lanes());
  }
}

/// Computes the products of one point and one block of output channels, for all input channels.
template <class P>
HWY_NOINLINE void products(const float* v, std::int64_t row, const float* y, std::int64_t out_row, std::int64_t words,
                           std::int64_t in_channels, bool first, float* to, std::int64_t sums_row) {
  std::int64_t c = 0;
  for (; c + rows <= in_channels; c += rows)
    product<P, rows>(v + c, row, y, out_row, words, first, to + c * sums_row, sums_row);
  v += c;
  to += c * sums_row;
  switch (in_channels - c) {
    case 1:
      return product<P, 1>(v, row, y, out_row, words, first, to, sums_row);
    case 2:
      return product<P, 2>(v, row, y, out_row, words, first, to, sums_row);
    case 3:
      return product<P, 3>(v, row, y, out_row, words, first, to, sums_row);
    case 4:
      return product<P, 4>(v, row, y, out_row, words, first, to, sums_row);
    case 5:
      return product<P, 5>(v, row, y, out_row, words, first, to, sums_row);
    default:
      return;
  }
}

/// Transforms a block's input: word w of channel c is at v[p * plane + w * row + c].
template <class P, class T>
HWY_NOINLINE void transform_inputs(const WinogradShape& shape, const Tiles& tiles, const T* src,
                                   const BackwardBlocks& blocks, std::int64_t first, std::int64_t last, float* v) {
  for (std::int64_t t = first; t < last; t += P::numbers, v += blocks.row) {
    for_each_vector(shape.in_channels, [&](std::int64_t channel, std::size_t n) FACET_VECTOR_BODY {
      Floats word[P::numbers][points];
      for (int i = 0; i < P::numbers; ++i) {
        // Beyond the last tile the gradients are zero, so that any finite input will do.
        transformed_input(shape, position(tiles, std::min(t + i, last - 1)), src, channel, n, word[i]);
      }
      P::store_words(word, v + channel, blocks.plane);
    });
  }
}

/// Transforms the gradient with respect to a tile's output, for `n` channels from `channel` on.
template <class T>
HWY_INLINE void transformed_gradient(const WinogradShape& shape, const TilePosition& at, const T* diff_dst,
                                     std::int64_t channel, std::size_t n, Floats* tile) {
  const Picture<T> picture{diff_dst + at.image * shape.out_height * shape.out_width * shape.out_channels,
                           shape.out_height, shape.out_width, shape.out_channels};
  load_tile<tile_out>(picture, at.y, at.x, channel, n, tile);
  transform_tile<tile_out, tile_in>(tile, transform_output_gradient<tile_in>, transform_output_gradient<1>);
}

/// Transforms a block's gradients of channels [begin, end); channels beyond the last, up to a whole block, are zero.
template <class P, class T>
HWY_NOINLINE void transform_gradients(const WinogradShape& shape, const Tiles& tiles, const T* diff_dst,
                                      const BackwardBlocks& blocks, std::int64_t first, std::int64_t last,
                                      std::int64_t begin, std::int64_t end, float* y) {
  for (std::int64_t t = first; t < last; t += P::numbers, y += blocks.out_row) {
    for (std::int64_t channel = begin; channel < end; channel += static_cast<std::int64_t>(lanes())) {
      const auto n = std::clamp<std::int64_t>(shape.out_channels - channel, 0, lanes());
      Floats word[P::numbers][points];
      for (int i = 0; i < P::numbers; ++i) {
        const bool there = t + i < last;
        transformed_gradient(shape, position(tiles, there ? t + i : t), diff_dst, channel, there ? n : 0, word[i]);
      }
      P::store_words(word, y + channel, blocks.out_plane);
    }
  }
}

template <class P, class T>
void sum_tiles(const WinogradShape& shape, const BackwardBlocks& blocks, const T* src, const T* diff_dst,
               std::int64_t task, float* scratch, float* sums) {
  const Tiles tiles(shape);
  const std::int64_t part = task / blocks.groups;
  const std::int64_t group = task % blocks.groups;
  const std::int64_t channel_blocks = blocks.sums_row / block_width();
  const std::int64_t begin = group * channel_blocks / blocks.groups * block_width();
  const std::int64_t end = (group + 1) * channel_blocks / blocks.groups * block_width();
  const std::int64_t part_begin = part * tiles.count / blocks.parts;
  const std::int64_t part_end = (part + 1) * tiles.count / blocks.parts;
  float* v = scratch;
  float* y = scratch + points * blocks.plane;
  sums += part * blocks.sums(shape);
  for (std::int64_t first = part_begin; first < part_end; first += blocks.tiles) {
    const std::int64_t last = std::min(first + blocks.tiles, part_end);
    transform_inputs<P>(shape, tiles, src, blocks, first, last, v);
    transform_gradients<P>(shape, tiles, diff_dst, blocks, first, last, begin, end, y);
    for (int point = 0; point < points; ++point) {
      for (std::int64_t channel = begin; channel < end; channel += block_width()) {
        products<P>(v + point * blocks.plane, blocks.row, y + point * blocks.out_plane + channel, blocks.out_row,
                    (last - first + P::numbers - 1) / P::numbers, shape.in_channels, first == part_begin,
                    sums + point * shape.in_channels * blocks.sums_row + channel, blocks.sums_row);
      }
    }
  }
}

/// Output channels whose sums are added at a time, at most: runs of some cache lines in the memory of each part.
constexpr std::int64_t max_finish_width = 64;

/// Adds the parts' sums and transforms them into the gradient with respect to the weights, for output channels
/// [first, last) of an input channel.
HWY_NOINLINE void finish(const WinogradShape& shape, const BackwardBlocks& blocks, const float* sums,
                         std::int64_t channel, std::int64_t first, std::int64_t last, float* diff_weights) {
  const std::int64_t plane = shape.in_channels * blocks.sums_row;
  HWY_ALIGN float added[points * max_finish_width];
  for (int point = 0; point < points; ++point) {
    const float* from = sums + point * plane + channel * blocks.sums_row + first;
    float* const to = added + point * max_finish_width;
    for (std::int64_t part = 0; part < blocks.parts; ++part, from += points * plane) {
      for (std::int64_t i = 0; i < last - first; i += static_cast<std::int64_t>(lanes())) {
        store(part == 0 ? load(from + i) : hn::Add(load(to + i), load(from + i)), to + i);
      }
    }
  }
  for_each_vector(last - first, [&](std::int64_t i, std::size_t n) FACET_VECTOR_BODY {
    Floats tile[points];
    for (int point = 0; point < points; ++point) tile[point] = load(added + point * max_finish_width + i);
    transform_tile<tile_in, 3>(tile, transform_weights_gradient<tile_in>, transform_weights_gradient<1>);
    HWY_ALIGN float lane[hn::MaxLanes(FloatTag())];
    for (int tap = 0; tap < 9; ++tap) {
      store(tile[tap / 3 * tile_in + tap % 3], lane);
      for (std::size_t k = 0; k < n; ++k) {
        const std::int64_t out = first + i + static_cast<std::int64_t>(k);
        diff_weights[(out * shape.in_channels + channel) * 9 + tap] = lane[k];
      }
    }
  });
}

/// The same for all channels.
inline void finish_all(const WinogradShape& shape, const BackwardBlocks& blocks, const float* sums,
                       float* diff_weights) {
  std::int64_t width = max_finish_width;
  const auto items = [&] { return (shape.out_channels + width - 1) / width * shape.in_channels; };
  while (width > std::max<std::int64_t>(cache_line, lanes()) && items() < 4 * shape.threads) width /= 2;
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {  // neighbours write to the same cache lines
      const std::int64_t first = item / shape.in_channels * width;
      finish(shape, blocks, sums, item % shape.in_channels, first, std::min(first + width, shape.out_channels),
             diff_weights);
    }
  };
  base::parallel_for(items(), 1, std::ref(body));
}

template <class P, class T>
void backward_weights(const WinogradShape& shape, const T* src, const T* diff_dst, float* diff_weights,
                      float* scratch) {
  const BackwardBlocks blocks = plan_backward<P>(shape);
  const std::int64_t tasks = blocks.parts * blocks.groups;
  float* sums = scratch + tasks * blocks.task_scratch();
  const auto sum = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      sum_tiles<P>(shape, blocks, src, diff_dst, task, scratch + task * blocks.task_scratch(), sums);
    }
  };
  base::parallel_for(tasks, 1, std::ref(sum));
  finish_all(shape, blocks, sums, diff_weights);
}

template <class P>
std::int64_t backward_weights_scratch(const WinogradShape& shape) {
  const BackwardBlocks blocks = plan_backward<P>(shape);
  return blocks.parts * (blocks.groups * blocks.task_scratch() + blocks.sums(shape));
}

}  // namespace
}  // namespace winograd

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
