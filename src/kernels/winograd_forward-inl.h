// Winograd's forward, for any kind of products; the sources that include this compile it once per target.
#if defined(FACET_KERNELS_WINOGRAD_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FACET_KERNELS_WINOGRAD_FORWARD_INL_H_
#undef FACET_KERNELS_WINOGRAD_FORWARD_INL_H_
#else
#define FACET_KERNELS_WINOGRAD_FORWARD_INL_H_
#endif

#include <functional>

#include "base/parallel.h"
#include "base/topology.h"
#include "kernels/winograd_tiles-inl.h"
#include "kernels/winograd_weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

namespace winograd {
namespace {

/// How a thread processes the tiles. A block's transformed input and its products stay in the second-level cache.
/// Products are computed point by point, so that a point's input stays in a near cache for all output channels. The
/// transformed weights are read once per block, in panels; a panel holds the weights of one point and `block_width`
/// output channels.
struct ForwardBlocks {
  std::int64_t tiles;       // per block
  std::int64_t row, plane;  // strides in words, of tiles and of points, of the transformed input
  std::int64_t depth;       // words of a tile and a point that are multiplied
  std::int64_t product_row, product_plane;
  std::int64_t parts;  // parts of the output channels' blocks, if there are fewer blocks of tiles than threads

  std::int64_t scratch() const { return points * (plane + product_plane); }
};

/// Bytes for a block of tiles. If all weights fit into the second-level cache, a small block leaves room for them. If
/// they don't, each block reads them from a slower cache or memory, so that few large blocks are better.
inline std::int64_t block_bytes(std::int64_t weight_bytes) {
  // A cache that is reported as larger is shared by cores, or its size is made up by a virtual machine.
  constexpr std::int64_t small = 1 << 19, usual = 1 << 20, largest = 1 << 21;
  static const std::int64_t detected = base::Topology::machine().second_level_cache_bytes();
  static const std::int64_t cache = detected > 0 ? std::clamp(detected, small, largest) : usual;
  return weight_bytes > cache ? cache : small;
}

template <class P>
ForwardBlocks plan_forward(const WinogradShape& shape) {
  const Tiles tiles(shape);
  ForwardBlocks blocks{};
  blocks.row = round_up(shape.in_channels, static_cast<std::int64_t>(lanes())) / P::numbers;
  blocks.depth = (shape.in_channels + P::numbers - 1) / P::numbers;
  blocks.product_row = round_up(shape.out_channels, block_width());
  constexpr auto size = static_cast<std::int64_t>(sizeof(float));
  const std::int64_t bytes = block_bytes(weights_size<P>(shape.in_channels, shape.out_channels) * size);
  const std::int64_t fitting = bytes / (points * size * (blocks.row + blocks.product_row));
  const std::int64_t max_tiles = round_up(std::max<std::int64_t>(fitting, 1), rows);
  const std::int64_t shared = (tiles.count + shape.threads - 1) / shape.threads;
  const std::int64_t rounds = (shared + max_tiles - 1) / max_tiles;
  blocks.tiles = round_up((shared + rounds - 1) / rounds, rows);
  // One cache line more than a power of two: otherwise all points of a tile would map to one set of the cache.
  blocks.plane = blocks.tiles * blocks.row + cache_line;
  blocks.product_plane = blocks.tiles * blocks.product_row + cache_line;
  const std::int64_t count = (tiles.count + blocks.tiles - 1) / blocks.tiles;
  const std::int64_t channel_blocks = blocks.product_row / block_width();
  blocks.parts = count >= shape.threads ? 1 : std::min(channel_blocks, (shape.threads + count - 1) / count);
  return blocks;
}

/// m[r][.] = sum over k of v[r][k] * u[k][.], for Rows tiles and one block of output channels. With Fetch, one cache
/// line of `next` is prefetched into the second-level cache for each k.
template <class P, int Rows, bool Fetch = false>
HWY_INLINE void product(const float* HWY_RESTRICT v, std::int64_t row, const float* HWY_RESTRICT u, std::int64_t depth,
                        float* HWY_RESTRICT m, std::int64_t m_row, const float* next = nullptr) {
  const FloatTag tag;
  const std::int64_t width = block_width();
  Floats sums[Rows][columns];
  for (auto& of_row : sums) {
    for (Floats& sum : of_row) sum = hn::Zero(tag);
  }
  for (std::int64_t k = 0; k < depth; ++k) {
    Floats weights[columns];
    for (int j = 0; j < columns; ++j) weights[j] = hn::LoadU(tag, u + k * width + j * lanes());
    if constexpr (Fetch) __builtin_prefetch(next + k * cache_line, 0, 2);
    for (int r = 0; r < Rows; ++r) {
      const Floats value = hn::Set(tag, v[r * row + k]);
      for (int j = 0; j < columns; ++j) sums[r][j] = P::multiply_add(value, weights[j], sums[r][j]);
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int j = 0; j < columns; ++j) hn::StoreU(sums[r][j], tag, m + r * m_row + j * lanes());
  }
}

/// Multiplies a block of tiles by the panel u. The products of the first tiles prefetch `next`, the panel that is used
/// after u: the hardware prefetcher doesn't look that far ahead.
template <class P>
HWY_NOINLINE void products(const float* v, std::int64_t row, const float* u, std::int64_t depth, const float* next,
                           std::int64_t tiles, float* m, std::int64_t m_row) {
  const std::int64_t fetches = block_width() / cache_line;  // products that prefetch, each one line for each k
  std::int64_t t = 0;
  for (; t + rows <= tiles && t < fetches * rows; t += rows) {
    product<P, rows, true>(v + t * row, row, u, depth, m + t * m_row, m_row, next + t / rows * depth * cache_line);
  }
  for (; t + rows <= tiles; t += rows) product<P, rows>(v + t * row, row, u, depth, m + t * m_row, m_row);
  v += t * row;
  m += t * m_row;
  switch (tiles - t) {
    case 1:
      return product<P, 1>(v, row, u, depth, m, m_row);
    case 2:
      return product<P, 2>(v, row, u, depth, m, m_row);
    case 3:
      return product<P, 3>(v, row, u, depth, m, m_row);
    case 4:
      return product<P, 4>(v, row, u, depth, m, m_row);
    case 5:
      return product<P, 5>(v, row, u, depth, m, m_row);
    default:
      return;
  }
}

/// Transforms and writes the outputs of tiles [first, last), for `channels` channels from `channel` on.
template <class T>
HWY_NOINLINE void transform_outputs(const WinogradShape& shape, const Tiles& tiles, const float* m,
                                    const ForwardBlocks& blocks, std::int64_t first, std::int64_t last,
                                    std::int64_t channel, std::int64_t channels, const WinogradTail<T>& tail, T* dst) {
  for (std::int64_t t = first; t < last; ++t) {
    const TilePosition at = position(tiles, t);
    const std::int64_t height = std::min<std::int64_t>(tile_out, shape.out_height - at.y);
    const std::int64_t width = std::min<std::int64_t>(tile_out, shape.out_width - at.x);
    const std::int64_t corner =
        ((at.image * shape.out_height + at.y) * shape.out_width + at.x) * shape.out_channels + channel;
    const float* from = m + (t - first) * blocks.product_row;
    for_each_vector(channels, [&](std::int64_t c, std::size_t n) FACET_VECTOR_BODY {
      Floats tile[points];
      for (int point = 0; point < points; ++point) tile[point] = load(from + point * blocks.product_plane + c);
      transform_tile<tile_in, tile_out>(tile, transform_output<tile_in>, transform_output<1>);
      const Floats bias = tail.bias != nullptr ? load(tail.bias + channel + c, n) : hn::Zero(FloatTag());
      for (std::int64_t i = 0; i < height; ++i) {
        for (std::int64_t j = 0; j < width; ++j) {
          const std::int64_t at_pixel = corner + (i * shape.out_width + j) * shape.out_channels + c;
          Floats value = hn::Add(tile[i * tile_in + j], bias);
          if (tail.residual != nullptr) value = hn::Add(value, load(tail.residual + at_pixel, n));
          value = activate(value, tail.activation);
          store(value, dst + at_pixel, n);
        }
      }
    });
  }
}

/// Transforms the input's tiles [first, last): point p of tile t is at v[p * plane + (t - first) * row].
template <class P, class T>
HWY_NOINLINE void transform_inputs(const WinogradShape& shape, const Tiles& tiles, const T* src, std::int64_t first,
                                   std::int64_t last, const ForwardBlocks& blocks, float* v) {
  for (std::int64_t t = first; t < last; ++t) {
    const TilePosition at = position(tiles, t);
    float* to = v + (t - first) * blocks.row;
    for_each_vector(shape.in_channels, [&](std::int64_t channel, std::size_t n) FACET_VECTOR_BODY {
      Floats tile[points];
      transformed_input(shape, at, src, channel, n, tile);
      P::store_lanes(tile, to + channel / P::numbers, blocks.plane);
    });
  }
}

template <class P, class T>
void forward_piece(const WinogradShape& shape, const ForwardBlocks& blocks, const T* src, const float* u,
                   const WinogradTail<T>& tail, T* dst, float* scratch, std::int64_t first_task,
                   std::int64_t last_task) {
  const Tiles tiles(shape);
  const std::int64_t width = block_width();
  const std::int64_t channel_blocks = blocks.product_row / width;
  float* v = scratch;
  float* m = scratch + points * blocks.plane;
  for (std::int64_t task = first_task; task < last_task; ++task) {
    const std::int64_t first = task / blocks.parts * blocks.tiles;
    const std::int64_t last = std::min(first + blocks.tiles, tiles.count);
    const std::int64_t part = task % blocks.parts;
    const std::int64_t first_block = part * channel_blocks / blocks.parts;
    const std::int64_t panels = (part + 1) * channel_blocks / blocks.parts - first_block;  // per point
    const auto panel = [&](std::int64_t i) {
      return u + (i / panels % points * channel_blocks + first_block + i % panels) * blocks.depth * width;
    };
    transform_inputs<P>(shape, tiles, src, first, last, blocks, v);
    for (std::int64_t i = 0; i < points * panels; ++i) {
      const std::int64_t point = i / panels;
      products<P>(v + point * blocks.plane, blocks.row, panel(i), blocks.depth, panel(i + 1), last - first,
                  m + point * blocks.product_plane + i % panels * width, blocks.product_row);
    }
    const std::int64_t channel = first_block * width;
    transform_outputs(shape, tiles, m, blocks, first, last, channel,
                      std::min(panels * width, shape.out_channels - channel), tail, dst);
  }
}

template <class P, class T>
void forward(const WinogradShape& shape, const T* src, const float* u, const WinogradTail<T>& tail, T* dst,
             float* scratch) {
  const std::int64_t threads = shape.threads;
  const ForwardBlocks blocks = plan_forward<P>(shape);
  const Tiles tiles(shape);
  const std::int64_t tasks = (tiles.count + blocks.tiles - 1) / blocks.tiles * blocks.parts;
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      forward_piece<P>(shape, blocks, src, u, tail, dst, scratch + piece * blocks.scratch(), piece * tasks / threads,
                       (piece + 1) * tasks / threads);
    }
  };
  base::parallel_for(threads, 1, std::ref(body));
}

template <class P>
std::int64_t forward_scratch(const WinogradShape& shape) {
  return shape.threads * plan_forward<P>(shape).scratch();
}

}  // namespace
}  // namespace winograd

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
