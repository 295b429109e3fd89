#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "data/decode/region.h"
#include "data/decode/scratch.h"
#include "facet/image.h"

namespace facet::data {

/// The weights with which each output position of one axis sums adjacent input positions. Their number is the same for
/// all outputs; some weights may be 0.
struct Taps {
  int count = 0;                      ///< input positions per output
  std::vector<int> first;             ///< {outputs}: the first input position
  std::vector<std::int32_t> weights;  ///< {outputs, count}: fixed point with weight_bits fractional bits
};

inline constexpr int weight_bits = 22;
/// How many bytes resize_rows may read behind the last input.
inline constexpr int resize_slack = 16;

/// Returns the weights of PIL's bilinear filter: a triangle as wide as two input pixels, or two output pixels when
/// those are larger.
/// @param outputs the length to which the whole axis is resized; weights are computed for `count` outputs from `first`.
/// @param end no input from there on is read. It must not cut off an input whose weight isn't 0.
Taps triangle_taps(int inputs, std::int64_t outputs, std::int64_t first, int count, int end);
Taps triangle_taps(int inputs, std::int64_t outputs, std::int64_t first, int count);

/// Resizes each of `rows` RGB rows to the outputs of `taps`. The rows of `out` are contiguous.
/// @param in resize_slack bytes must be readable after the last row.
void resize_rows(const std::uint8_t* in, std::ptrdiff_t in_stride, int rows, const Taps& taps, std::uint8_t* out);

/// Computes each output row as a weighted sum of input rows. All rows have `bytes` bytes; those of `out` are
/// contiguous.
void mix_rows(const std::uint8_t* in, std::ptrdiff_t in_stride, int bytes, const Taps& taps, std::uint8_t* out);

/// Returns the offset of torchvision's CenterCrop: Python's int(round(excess / 2)), which rounds halves to even.
/// @param excess the pixels that the crop removes along an axis.
std::int64_t crop_offset(std::int64_t excess);

/// Returns the pixels that resize_image reads of an image whose extents are `whole`.
Region resized_region(ImageSize whole, ImageSize size, ResizeMode mode);

/// Resizes an image as facet::resize does.
/// @param image the whole image or a part of it.
/// @throws Error, also when the part lacks pixels of resized_region.
void resize_image(const Image& image, const Placement& placement, ImageSize size, ResizeMode mode,
                  std::span<std::uint8_t> pixels, Scratch& scratch);

/// Crops a region of the whole image, and resizes it to `size` as if the image ended at its edges (torchvision:
/// F.resized_crop).
/// @param image the whole image or a part of it.
/// @throws Error unless the region lies in the whole image and in the part.
void resize_region(const Image& image, const Placement& placement, const Region& region, ImageSize size,
                   std::span<std::uint8_t> pixels, Scratch& scratch);

}  // namespace facet::data
