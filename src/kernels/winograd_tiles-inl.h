// What Winograd's forward and weight gradient share: the transforms of one tile and the order of tiles; the sources
// that include this compile it once per target.
#if defined(FACET_KERNELS_WINOGRAD_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FACET_KERNELS_WINOGRAD_TILES_INL_H_
#undef FACET_KERNELS_WINOGRAD_TILES_INL_H_
#else
#define FACET_KERNELS_WINOGRAD_TILES_INL_H_
#endif

#include <hwy/cache_control.h>

#include "kernels/lanes-inl.h"
#include "kernels/winograd.h"

#ifndef FACET_KERNELS_WINOGRAD_CONSTANTS
#define FACET_KERNELS_WINOGRAD_CONSTANTS
namespace facet::kernels::winograd {

inline constexpr int tile_in = 6;   // rows and columns of the input that a tile reads
inline constexpr int tile_out = 4;  // rows and columns of the output that a tile computes
inline constexpr int points = tile_in * tile_in;
inline constexpr std::int64_t cache_line = 16;  // in floats

// The points ±a and ±b; a * b = 1 saves a multiplication.
inline constexpr double a = 2.0 / 3.0;
inline constexpr double b = 3.0 / 2.0;

constexpr std::int64_t round_up(std::int64_t count, std::int64_t to) { return (count + to - 1) / to * to; }

/// The tiles of a batch, numbered by image, then by row, then by column.
struct Tiles {
  std::int64_t rows, columns, count;

  explicit Tiles(const WinogradShape& shape)
      : rows((shape.out_height + tile_out - 1) / tile_out),
        columns((shape.out_width + tile_out - 1) / tile_out),
        count(shape.images * rows * columns) {}
};

struct TilePosition {
  std::int64_t image, y, x;  // y and x: row and column of the tile's first output
};

inline TilePosition position(const Tiles& tiles, std::int64_t tile) {
  const std::int64_t in_image = tile % (tiles.rows * tiles.columns);
  return {tile / (tiles.rows * tiles.columns), in_image / tiles.columns * tile_out,
          in_image % tiles.columns * tile_out};
}

}  // namespace facet::kernels::winograd
#endif

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

namespace winograd {
namespace {  // unnamed, since winograd_bf16.cpp compiles the same code for more instructions

using namespace kernels::winograd;  // NOLINT: the constants above

// Accumulators of a register-blocked product: `rows` broadcast values by `columns` vectors. They take 6 x 4 of
// AVX-512's 32 registers, or 6 x 2 of AVX2's 16.
constexpr int rows = 6;
constexpr int columns = HWY_TARGET <= HWY_AVX3 ? 4 : 2;

HWY_INLINE std::int64_t block_width() { return columns * static_cast<std::int64_t>(lanes()); }

HWY_INLINE Floats constant(double value) { return hn::Set(FloatTag(), static_cast<float>(value)); }

// Up to six vectors, `Stride` apart in an array.
template <int Stride>
struct Line {
  Floats* first;
  HWY_INLINE Floats& operator[](int i) const { return first[i * Stride]; }
};

/// B^T d: transforms six inputs, in place.
template <int Stride>
HWY_INLINE void transform_input(Line<Stride> d) {
  const Floats even_a = hn::NegMulAdd(constant(b * b), d[2], d[4]);
  const Floats odd_a = hn::NegMulAdd(constant(b * b), d[1], d[3]);
  const Floats even_b = hn::NegMulAdd(constant(a * a), d[2], d[4]);
  const Floats odd_b = hn::NegMulAdd(constant(a * a), d[1], d[3]);
  d[0] = hn::NegMulAdd(constant(a * a + b * b), d[2], hn::Add(d[0], d[4]));
  d[5] = hn::NegMulAdd(constant(a * a + b * b), d[3], hn::Add(d[1], d[5]));
  d[1] = hn::MulAdd(constant(a), odd_a, even_a);
  d[2] = hn::NegMulAdd(constant(a), odd_a, even_a);
  d[3] = hn::MulAdd(constant(b), odd_b, even_b);
  d[4] = hn::NegMulAdd(constant(b), odd_b, even_b);
}

/// A^T m: transforms six products into four outputs, in place.
template <int Stride>
HWY_INLINE void transform_output(Line<Stride> m) {
  const Floats sum_a = hn::Add(m[1], m[2]);
  const Floats difference_a = hn::Sub(m[1], m[2]);
  const Floats sum_b = hn::Add(m[3], m[4]);
  const Floats difference_b = hn::Sub(m[3], m[4]);
  m[0] = hn::Add(m[0], hn::Add(sum_a, sum_b));
  m[1] = hn::MulAdd(constant(a), difference_a, hn::Mul(constant(b), difference_b));
  m[2] = hn::MulAdd(constant(a * a), sum_a, hn::Mul(constant(b * b), sum_b));
  m[3] = hn::MulAdd(constant(a * a * a), difference_a, hn::MulAdd(constant(b * b * b), difference_b, m[5]));
}

/// A y: transforms four gradients with respect to outputs into six values, in place.
template <int Stride>
HWY_INLINE void transform_output_gradient(Line<Stride> y) {
  const Floats even_a = hn::MulAdd(constant(a * a), y[2], y[0]);
  const Floats odd_a = hn::MulAdd(constant(a * a), y[3], y[1]);
  const Floats even_b = hn::MulAdd(constant(b * b), y[2], y[0]);
  const Floats odd_b = hn::MulAdd(constant(b * b), y[3], y[1]);
  y[5] = y[3];
  y[1] = hn::MulAdd(constant(a), odd_a, even_a);
  y[2] = hn::NegMulAdd(constant(a), odd_a, even_a);
  y[3] = hn::MulAdd(constant(b), odd_b, even_b);
  y[4] = hn::NegMulAdd(constant(b), odd_b, even_b);
}

constexpr double scale_a = 1 / (2 * a * a * (a * a - b * b));
constexpr double scale_b = 1 / (2 * b * b * (b * b - a * a));

/// G g: transforms three weights into six values, in place.
template <int Stride>
HWY_INLINE void transform_weights(Line<Stride> g) {
  const Floats even_a = hn::MulAdd(constant(scale_a * a * a), g[2], hn::Mul(constant(scale_a), g[0]));
  const Floats even_b = hn::MulAdd(constant(scale_b * b * b), g[2], hn::Mul(constant(scale_b), g[0]));
  const Floats odd = g[1];
  g[5] = g[2];
  g[1] = hn::MulAdd(constant(scale_a * a), odd, even_a);
  g[2] = hn::NegMulAdd(constant(scale_a * a), odd, even_a);
  g[3] = hn::MulAdd(constant(scale_b * b), odd, even_b);
  g[4] = hn::NegMulAdd(constant(scale_b * b), odd, even_b);
}

/// G^T u: transforms six values into the gradients with respect to three weights, in place.
template <int Stride>
HWY_INLINE void transform_weights_gradient(Line<Stride> u) {
  const Floats sum_a = hn::Add(u[1], u[2]);
  const Floats difference_a = hn::Sub(u[1], u[2]);
  const Floats sum_b = hn::Add(u[3], u[4]);
  const Floats difference_b = hn::Sub(u[3], u[4]);
  u[0] = hn::MulAdd(constant(scale_a), sum_a, hn::MulAdd(constant(scale_b), sum_b, u[0]));
  u[1] = hn::MulAdd(constant(scale_a * a), difference_a, hn::Mul(constant(scale_b * b), difference_b));
  u[2] = hn::MulAdd(constant(scale_a * a * a), sum_a, hn::MulAdd(constant(scale_b * b * b), sum_b, u[5]));
}

/// Applies a transform of lines to the columns, then to the rows, of a tile. `In` x `In` values become `Out` x `Out`
/// ones; both lie in the first corner of the tile's 6 x 6.
template <int In, int Out, class Columns, class Rows>
HWY_INLINE void transform_tile(Floats* tile, const Columns& by_columns, const Rows& by_rows) {
  for (int column = 0; column < In; ++column) by_columns(Line<tile_in>{tile + column});
  for (int row = 0; row < Out; ++row) by_rows(Line<1>{tile + row * tile_in});
}

/// An image of channels-last activations as tiles read it: rows and columns outside are zero.
template <class T>
struct Picture {
  const T* data;
  std::int64_t height, width, channels;
};

/// Loads `Extent` x `Extent` pixels from (y, x) on, `n` channels from `channel` on, into the first corner of a tile.
template <int Extent, class T>
HWY_INLINE void load_tile(const Picture<T>& picture, std::int64_t y, std::int64_t x, std::int64_t channel,
                          std::size_t n, Floats* tile) {
  const std::int64_t row_stride = picture.width * picture.channels;
  const T* first = picture.data + y * row_stride + x * picture.channels + channel;
  const bool inside = y >= 0 && x >= 0 && y + Extent <= picture.height && x + Extent <= picture.width;
  if (inside && n == lanes()) {
    for (int i = 0; i < Extent; ++i) {
      for (int j = 0; j < Extent; ++j) {
        tile[i * tile_in + j] = load(first + i * row_stride + j * picture.channels);
      }
    }
    // Prefetches the next tile's new pixels: the hardware prefetcher doesn't recognise the pattern.
    for (int i = 0; i < Extent; ++i) {
      for (int j = Extent - tile_out; j < Extent; ++j) {
        hwy::Prefetch(first + i * row_stride + (j + tile_out) * picture.channels);
      }
    }
    return;
  }
  for (int i = 0; i < Extent; ++i) {
    for (int j = 0; j < Extent; ++j) {
      const bool there = y + i >= 0 && y + i < picture.height && x + j >= 0 && x + j < picture.width;
      tile[i * tile_in + j] = there ? load(first + i * row_stride + j * picture.channels, n) : hn::Zero(FloatTag());
    }
  }
}

/// Loads and transforms the input of a tile, `n` channels from `channel` on.
template <class T>
HWY_INLINE void transformed_input(const WinogradShape& shape, const TilePosition& at, const T* src,
                                  std::int64_t channel, std::size_t n, Floats* tile) {
  const Picture<T> picture{src + at.image * shape.in_height * shape.in_width * shape.in_channels, shape.in_height,
                           shape.in_width, shape.in_channels};
  load_tile<tile_in>(picture, at.y - shape.padding, at.x - shape.padding, channel, n, tile);
  transform_tile<tile_in, tile_in>(tile, transform_input<tile_in>, transform_input<1>);
}

/// Products of f32. Operands are stored in 32-bit words; here a word holds one number.
struct F32Products {
  static constexpr int numbers = 1;  // per word

  /// Stores the 36 points of a tile, `stride` words apart; each lane is stored as a number.
  static HWY_INLINE void store_lanes(const Floats* tile, float* to, std::int64_t stride) {
    for (int point = 0; point < points; ++point) store(tile[point], to + point * stride);
  }
  /// Stores the 36 points of `numbers` tiles, `stride` words apart; a lane's numbers of all tiles form one word.
  static HWY_INLINE void store_words(const Floats (*tiles)[points], float* to, std::int64_t stride) {
    store_lanes(tiles[0], to, stride);
  }
  /// sum + word * words, lane by lane; the products of a word's numbers are summed.
  static HWY_INLINE Floats multiply_add(Floats word, Floats words, Floats sum) { return hn::MulAdd(word, words, sum); }
};

}  // namespace
}  // namespace winograd

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
