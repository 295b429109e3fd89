#pragma once

#include <cstdint>

/// The weight gradient of a convolution of stride 1 by AMX's products of bf16 tiles: dW[out][in][tap] is the sum over
/// the output's pixels of diff_dst[pixel][out] * src[pixel + tap][in]. Pixels are what is summed over, so diff_dst is
/// turned to hold them along rows, and src is kept twice, in pairs of pixels from the even and from the odd ones on:
/// then every tap is a shift by whole pairs. What a block of rows needs stays in the second-level cache.
namespace facet::kernels {

/// Activations are channels-last bf16.
struct AmxConvolutionShape {
  std::int64_t images;
  std::int64_t in_channels, in_height, in_width;
  std::int64_t out_channels, out_height, out_width;
  std::int64_t kernel;   ///< height and width
  std::int64_t padding;  ///< zeros before the first row and column; those after the last follow from the extents
  std::int64_t threads;  ///< that the work is cut for, whatever runs it: the scratch memory depends on it
};

/// Whether the CPU, within kernels::limit_instructions, multiplies tiles of bf16 and the operating system lets this
/// process use them.
bool has_amx_bf16();

/// Floats of scratch memory that amx_backward_weights needs.
std::int64_t amx_backward_weights_scratch(const AmxConvolutionShape& shape);

/// diff_weights {out_channels, in_channels, kernel, kernel} in f32. The same shape, its threads included, gives the
/// same bits. Zeros around the image are multiplied too: what isn't finite may show in more taps than it belongs to.
/// Only where has_amx_bf16.
void amx_backward_weights(const AmxConvolutionShape& shape, const std::uint16_t* src, const std::uint16_t* diff_dst,
                          float* diff_weights, float* scratch);

}  // namespace facet::kernels
