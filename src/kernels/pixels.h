#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

/// Conversion of pixels to the network's input, and conversions and copies of activations. The kernels of this folder
/// are written once with Highway and dispatched at run time to the best CPU ISA. Each runs on base::parallel_for and
/// allocates nothing. bf16 is held as std::uint16_t, rounded to nearest even; NaN stays NaN.
namespace facet::kernels {

/// Strides of a batch of activations, in elements: element (n, c, y, x) is at n * image + c * channel + y * row + x *
/// column.
struct PixelStrides {
  std::int64_t image, channel, row, column;
};

/// Writes (pixel / 255 - mean) / std for 8-bit pixels {images, height, width, 3}, as f32 or bf16 (exactly one of the
/// two pointers is not null), to a destination with any strides (channels-last and planar are fast).
void pixels_to_input(const std::uint8_t* pixels, std::int64_t images, std::int64_t height, std::int64_t width,
                     const std::array<float, 3>& mean, const std::array<float, 3>& std, const PixelStrides& strides,
                     float* to_f32, std::uint16_t* to_bf16);

/// A batch of images, divided into blocks of pixels: {images, rows, columns, block_height, block_width, 3}, where
/// element (n, y, x, dy, dx, c) is channel c of row y * block_height + dy - top, column x * block_width + dx - left,
/// and zero outside the image.
struct PixelBlocks {
  std::int64_t block_height, block_width;  ///< in pixels
  std::int64_t top, left;                  ///< zeros before the first row and column of pixels
  std::int64_t rows, columns;              ///< of blocks; pixels beyond them are left out
};

/// Writes the same values as pixels_to_input, in blocks.
void pixels_to_blocks(const std::uint8_t* pixels, std::int64_t images, std::int64_t height, std::int64_t width,
                      const std::array<float, 3>& mean, const std::array<float, 3>& std, const PixelBlocks& blocks,
                      float* to_f32, std::uint16_t* to_bf16);

/// to[i] = bf16(from[i]).
void to_bf16(const float* from, std::uint16_t* to, std::int64_t count);
/// to[i] = float(from[i]).
void from_bf16(const std::uint16_t* from, float* to, std::int64_t count);

/// Copies `bytes` of each row; strides are in bytes, from a row to the next.
void copy_rows(std::int64_t rows, std::int64_t bytes, const std::byte* from, std::int64_t from_stride, std::byte* to,
               std::int64_t to_stride);

}  // namespace facet::kernels
