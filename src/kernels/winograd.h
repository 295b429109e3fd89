#pragma once

#include <cstdint>

#include "kernels/activation.h"

/// 3x3 convolutions of stride 1 by Winograd's minimal filtering F(4x4,3x3) (Lavin and Gray, 2016). Each 6x6 tile of the
/// input is transformed into 36 values. Their products with 36 transformed weights, summed over channels, are
/// transformed into 4x4 outputs: 36 multiplications take the place of the 144 of a direct convolution. The
/// interpolation points are 0, ±2/3, ±3/2 and infinity, whose rounding errors are smaller than those of the usual 0,
/// ±1, ±2.
///
/// Activations are channels-last, f32 or bf16 (as std::uint16_t); weights are f32 {out_channels, in_channels, 3, 3};
/// transforms and sums are in f32. Everything runs on base::parallel_for; the same shape, including its threads, gives
/// the same bits. Outputs must not overlap inputs, except that dst and the residual may be the same. An infinite input
/// makes all outputs of its tile NaN.
namespace facet::kernels {

struct WinogradShape {
  std::int64_t images;
  std::int64_t in_channels, in_height, in_width;
  std::int64_t out_channels, out_height, out_width;
  std::int64_t padding;  ///< zeros before the first row and column; those after the last follow from the extents
  std::int64_t threads;  ///< threads that the work is divided for, however many run it; sets the scratch size

  /// The convolution that computes the input's gradient from the output's. Its weights are turned by 180 degrees and
  /// have their channels exchanged.
  WinogradShape backward_data() const {
    return {images, out_channels, out_height, out_width, in_channels, in_height, in_width, 2 - padding, threads};
  }
};

/// What is done to an output before it is written: adds the channel's bias and a residual of the outputs' shape (either
/// may be null), then applies the activation.
template <class T>
struct WinogradTail {
  const float* bias = nullptr;
  const T* residual = nullptr;
  Activation activation = Activation::none;
};

enum class WinogradWeights : std::uint8_t { forward, backward_data };

/// The kernels for one kind of products. Sizes are in floats; there must be at least one image.
struct Winograd {
  /// Size of the transformed weights.
  std::int64_t (*weights_size)(std::int64_t in_channels, std::int64_t out_channels);
  /// Transforms weights {out_channels, in_channels, 3, 3} for a convolution from in_channels to out_channels. For
  /// backward_data, it transforms weights {in_channels, out_channels, 3, 3} for the convolution of the gradient.
  void (*transform_weights)(const float* weights, std::int64_t in_channels, std::int64_t out_channels,
                            WinogradWeights direction, float* transformed);

  std::int64_t (*forward_scratch)(const WinogradShape& shape);
  /// dst = src convolved with the transformed weights.
  void (*forward)(const WinogradShape& shape, const float* src, const float* transformed,
                  const WinogradTail<float>& tail, float* dst, float* scratch);
  void (*forward_bf16)(const WinogradShape& shape, const std::uint16_t* src, const float* transformed,
                       const WinogradTail<std::uint16_t>& tail, std::uint16_t* dst, float* scratch);

  std::int64_t (*backward_weights_scratch)(const WinogradShape& shape);
  /// Computes diff_weights {out_channels, in_channels, 3, 3} from the forward's src and the gradient with respect to
  /// its dst.
  void (*backward_weights)(const WinogradShape& shape, const float* src, const float* diff_dst, float* diff_weights,
                           float* scratch);
  void (*backward_weights_bf16)(const WinogradShape& shape, const std::uint16_t* src, const std::uint16_t* diff_dst,
                                float* diff_weights, float* scratch);
};

enum class WinogradProducts : std::uint8_t {
  f32,
  bf16  ///< of values rounded to bf16, summed in f32; requires the CPU's bf16 dot products
};

bool has_winograd(WinogradProducts products);
/// The kernels for `products`. Requires has_winograd(products).
const Winograd& winograd_kernels(WinogradProducts products);

/// Winograd's kernels with products of bf16; null if the CPU, within the CPU ISA limit, has no bf16 dot product.
const Winograd* winograd_bf16();

}  // namespace facet::kernels
