#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pixels.cpp"
#include "kernels/pixels.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <functional>
#include <type_traits>

#include "base/parallel.h"
#include "kernels/lanes-inl.h"

#ifndef FACET_KERNELS_PIXELS_TYPES
#define FACET_KERNELS_PIXELS_TYPES
namespace facet::kernels {

/// The converted value for each pixel value of each channel.
template <class T>
using PixelTable = std::array<std::array<T, 256>, 3>;

template <class T>
struct PixelJob {
  const std::uint8_t* pixels;
  T* to;
  std::int64_t height, width;
  std::array<float, 3> mean, std;
  PixelStrides strides;
  PixelTable<T> table;
};

}  // namespace facet::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

/// Divides twice, as PyTorch does, so that the results are bit-identical to PyTorch's.
HWY_INLINE Floats normalise(Floats pixels, Floats mean, Floats std) {
  return hn::Div(hn::Sub(hn::Div(pixels, hn::Set(FloatTag(), 255.0F)), mean), std);
}

/// Converts a row with interleaved channels: 3 * width elements, where element i belongs to channel i % 3.
template <class T>
HWY_INLINE void interleaved_row(const PixelJob<T>& job, const std::uint8_t* from, T* to) {
  const auto step = static_cast<std::int64_t>(lanes());
  float means[3 * hn::MaxLanes(FloatTag())];
  float stds[3 * hn::MaxLanes(FloatTag())];
  for (std::size_t i = 0; i < 3 * lanes(); ++i) {
    means[i] = job.mean[i % 3];
    stds[i] = job.std[i % 3];
  }
  const std::int64_t count = 3 * job.width;
  for (std::int64_t i = 0, phase = 0; i < count; i += step, phase = phase == 2 * step ? 0 : phase + step) {
    const auto n = static_cast<std::size_t>(std::min(step, count - i));
    store(normalise(load(from + i, n), load(means + phase), load(stds + phase)), to + i, n);
  }
}

template <class T>
HWY_INLINE void table_row(const PixelJob<T>& job, const std::uint8_t* from, T* to, std::int64_t first) {
  for (std::int64_t x = first; x < job.width; ++x) {
    for (std::int64_t c = 0; c < 3; ++c) {
      to[c * job.strides.channel + x * job.strides.column] = job.table[static_cast<std::size_t>(c)][from[3 * x + c]];
    }
  }
}

/// Converts a row into each of three planes.
template <class T>
HWY_INLINE void planar_row(const PixelJob<T>& job, const std::uint8_t* from, T* to) {
  const FloatTag tag;
  const hn::Rebind<std::uint8_t, FloatTag> byte_tag;
  const auto step = static_cast<std::int64_t>(lanes());
  const std::int64_t channel = job.strides.channel;
  std::int64_t x = 0;
  for (; x + step <= job.width; x += step) {
    hn::Vec<decltype(byte_tag)> red, green, blue;
    hn::LoadInterleaved3(byte_tag, from + 3 * x, red, green, blue);
    store(normalise(to_floats(red), hn::Set(tag, job.mean[0]), hn::Set(tag, job.std[0])), to + x);
    store(normalise(to_floats(green), hn::Set(tag, job.mean[1]), hn::Set(tag, job.std[1])), to + channel + x);
    store(normalise(to_floats(blue), hn::Set(tag, job.mean[2]), hn::Set(tag, job.std[2])), to + 2 * channel + x);
  }
  table_row(job, from, to, x);
}

/// Converts the rows [begin, end), counted over all images.
template <class T>
HWY_INLINE void rows(const PixelJob<T>& job, std::int64_t begin, std::int64_t end) {
  const bool interleaved = job.strides.channel == 1 && job.strides.column == 3;
  const bool planar = job.strides.column == 1;
  for (std::int64_t row = begin; row < end; ++row) {
    const std::uint8_t* const from = job.pixels + 3 * job.width * row;
    T* const to = job.to + row / job.height * job.strides.image + row % job.height * job.strides.row;
    if (interleaved) {
      interleaved_row(job, from, to);
    } else if (planar) {
      planar_row(job, from, to);
    } else {
      table_row(job, from, to, 0);
    }
  }
}

void rows_f32(const PixelJob<float>& job, std::int64_t begin, std::int64_t end) { rows(job, begin, end); }
void rows_bf16(const PixelJob<std::uint16_t>& job, std::int64_t begin, std::int64_t end) { rows(job, begin, end); }

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::kernels {

HWY_EXPORT(rows_f32);
HWY_EXPORT(rows_bf16);

namespace {

constexpr std::int64_t elements_per_piece = 16384;

template <class T>
PixelTable<T> table_of(const std::array<float, 3>& mean, const std::array<float, 3>& std) {
  PixelTable<T> table;
  for (std::size_t c = 0; c < 3; ++c) {
    std::array<float, 256> values;
    for (std::size_t i = 0; i < 256; ++i) values[i] = (static_cast<float>(i) / 255.0F - mean[c]) / std[c];
    if constexpr (std::is_same_v<T, float>) {
      table[c] = values;
    } else {
      to_bf16(values.data(), table[c].data(), 256);
    }
  }
  return table;
}

/// Writes one row of pixels to all blocks of a row of blocks; `from` is the image's row, or null outside the image, and
/// `to` the row's place in the first block.
template <class T>
void blocks_of_row(const PixelTable<T>& table, const std::uint8_t* from, std::int64_t width, const PixelBlocks& blocks,
                   T* to) {
  const std::int64_t across = 3 * blocks.block_width;
  const std::int64_t apart = across * blocks.block_height;
  const auto put = [&](std::int64_t x, T* pixel) {
    for (std::size_t c = 0; c < 3; ++c) pixel[c] = table[c][from[3 * x + static_cast<std::int64_t>(c)]];
  };
  for (std::int64_t block = 0; block < blocks.columns; ++block, to += apart) {
    const std::int64_t first = block * blocks.block_width - blocks.left;
    if (from != nullptr && first >= 0 && first + blocks.block_width <= width) {
      for (std::int64_t i = 0; i < blocks.block_width; ++i) put(first + i, to + 3 * i);
    } else {
      std::fill_n(to, across, T{});
      for (std::int64_t i = 0; from != nullptr && i < blocks.block_width; ++i) {
        if (first + i >= 0 && first + i < width) put(first + i, to + 3 * i);
      }
    }
  }
}

template <class T>
void write_blocks(const std::uint8_t* pixels, std::int64_t images, std::int64_t height, std::int64_t width,
                  const PixelTable<T>& table, const PixelBlocks& blocks, T* to) {
  const std::int64_t across = 3 * blocks.block_width;
  const std::int64_t row_size = blocks.columns * blocks.block_height * across;
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t image = row / blocks.rows;
      for (std::int64_t i = 0; i < blocks.block_height; ++i) {
        const std::int64_t y = row % blocks.rows * blocks.block_height + i - blocks.top;
        const bool inside = y >= 0 && y < height;
        blocks_of_row(table, inside ? pixels + 3 * width * (image * height + y) : nullptr, width, blocks,
                      to + row * row_size + i * across);
      }
    }
  };
  base::parallel_for(images * blocks.rows, std::max<std::int64_t>(1, elements_per_piece / row_size), std::ref(body));
}

}  // namespace

void pixels_to_input(const std::uint8_t* pixels, std::int64_t images, std::int64_t height, std::int64_t width,
                     const std::array<float, 3>& mean, const std::array<float, 3>& std, const PixelStrides& strides,
                     float* to_f32, std::uint16_t* to_bf16) {
  if (images * height * width == 0) return;
  const std::int64_t grain = std::max<std::int64_t>(1, elements_per_piece / (3 * width));
  if (to_f32 != nullptr) {
    const PixelJob<float> job{pixels, to_f32, height, width, mean, std, strides, table_of<float>(mean, std)};
    const auto body = [&](std::int64_t begin, std::int64_t end) { HWY_DYNAMIC_DISPATCH(rows_f32)(job, begin, end); };
    base::parallel_for(images * height, grain, std::ref(body));
  } else {
    const PixelJob<std::uint16_t> job{pixels, to_bf16, height,  width,
                                      mean,   std,     strides, table_of<std::uint16_t>(mean, std)};
    const auto body = [&](std::int64_t begin, std::int64_t end) { HWY_DYNAMIC_DISPATCH(rows_bf16)(job, begin, end); };
    base::parallel_for(images * height, grain, std::ref(body));
  }
}

void pixels_to_blocks(const std::uint8_t* pixels, std::int64_t images, std::int64_t height, std::int64_t width,
                      const std::array<float, 3>& mean, const std::array<float, 3>& std, const PixelBlocks& blocks,
                      float* to_f32, std::uint16_t* to_bf16) {
  if (to_f32 != nullptr) {
    write_blocks(pixels, images, height, width, table_of<float>(mean, std), blocks, to_f32);
  } else {
    write_blocks(pixels, images, height, width, table_of<std::uint16_t>(mean, std), blocks, to_bf16);
  }
}

}  // namespace facet::kernels
#endif
