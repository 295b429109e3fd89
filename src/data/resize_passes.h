#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace facet::data {

/// How each output position of one axis is made of adjacent input positions: of as many for each, some at weight 0.
struct Taps {
  int count = 0;                      ///< input positions of an output
  std::vector<int> first;             ///< {outputs}: the first input position
  std::vector<std::int32_t> weights;  ///< {outputs, count}: fixed point, weight_bits after the point
};

inline constexpr int weight_bits = 22;

/// PIL's bilinear filter: a triangle as wide as two input pixels, or two output pixels when those are larger.
/// @param outputs the length to which the whole axis is resized, of which `count` outputs from `first` on are wanted.
Taps triangle_taps(int inputs, std::int64_t outputs, std::int64_t first, int count);

/// Each of `rows` rows, RGB, from the taps' inputs to their outputs, without padding between rows.
/// @param in at least one byte must be readable after the last row.
void resize_rows(const std::uint8_t* in, std::ptrdiff_t in_stride, int rows, const Taps& taps, std::uint8_t* out);

/// Each output row as a mix of input rows, all of `bytes` bytes; those of the output without padding between them.
void mix_rows(const std::uint8_t* in, std::ptrdiff_t in_stride, int bytes, const Taps& taps, std::uint8_t* out);

}  // namespace facet::data
