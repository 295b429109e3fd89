#pragma once

#include <cstdint>

/// The weight gradient of a convolution of stride 1, computed with AMX's products of bf16 tiles: dW[out][in][tap] is
/// the sum over the output's pixels of diff_dst[pixel][out] * src[pixel + tap][in]. As the sum is over pixels, diff_dst
/// is transposed so that its rows hold pixels. src is stored twice, as pairs of pixels that start at even and at odd
/// pixels, so that every tap is a shift by whole pairs. The working set of a block of rows stays in the second-level
/// cache.
namespace facet::kernels {

/// Activations are channels-last bf16.
struct AmxConvolutionShape {
  std::int64_t images;
  std::int64_t in_channels, in_height, in_width;
  std::int64_t out_channels, out_height, out_width;
  std::int64_t kernel;   ///< height and width
  std::int64_t padding;  ///< zeros before the first row and column; those after the last follow from the extents
  std::int64_t threads;  ///< threads that the work is divided for, however many run it; sets the scratch size
};

/// Whether the CPU, within the limit of kernels::set_max_cpu_isa, multiplies bf16 tiles and whether the operating
/// system lets this process use them.
bool has_amx_bf16();

/// Floats of scratch memory that amx_backward_weights needs.
std::int64_t amx_backward_weights_scratch(const AmxConvolutionShape& shape);

/// Writes diff_weights {out_channels, in_channels, kernel, kernel} in f32. The same shape, including its threads, gives
/// the same bits. The zeros around the image are multiplied too, so that a non-finite value may affect more taps than
/// it contributes to. Requires has_amx_bf16().
void amx_backward_weights(const AmxConvolutionShape& shape, const std::uint16_t* src, const std::uint16_t* diff_dst,
                          float* diff_weights, float* scratch);

}  // namespace facet::kernels
