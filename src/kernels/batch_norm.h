#pragma once

#include <cstdint>

#include "kernels/activation.h"

/// Batch normalisation (Ioffe and Szegedy, 2015) of channels-last activations {rows, channels}: a row is a pixel of an
/// image. T is float or, for bf16, std::uint16_t. Sums are in f32, by blocks of rows; the same shape, including its
/// threads, gives the same bits.
namespace facet::kernels {

struct BatchNormShape {
  std::int64_t rows, channels;
  std::int64_t threads;   ///< threads that the work is divided for, however many run it; sets the scratch size
  std::int64_t x_stride;  ///< from a row of x to the next: channels, or more if x is the first part of wider rows
};

/// y = (x - mean) * weight / sqrt(variance + eps) + bias, per channel.
struct BatchNormParameters {
  const float* mean;
  const float* variance;
  const float* weight;
  const float* bias;
  float eps;
};

/// Floats of scratch memory that each of the functions below needs.
std::int64_t batch_norm_scratch(const BatchNormShape& shape);

/// Mean and biased variance of each channel, in one pass (Chan, Golub and LeVeque, 1979).
template <class T>
void batch_norm_statistics(const BatchNormShape& shape, const T* x, float* mean, float* variance, float* scratch);

/// Computes y, adds the residual unless it is null, then applies the activation.
template <class T>
void batch_norm_forward(const BatchNormShape& shape, const BatchNormParameters& parameters, const T* x,
                        const T* residual, Activation activation, T* y, float* scratch);

/// What backward reads and writes. Let g be diff_y, but 0 where the activation is flat (y <= 0, and y >= 6 for relu6).
/// Then
/// diff_bias = sum(g), diff_weight = sum(g * (x - mean)) / sqrt(variance + eps),
/// diff_x = weight / sqrt(variance + eps) * (g - mean(g) - (x - mean) / (variance + eps) * mean(g * (x - mean))),
/// plus diff_x_before unless that is null.
template <class T>
struct BatchNormBackward {
  const T* x;
  const T* y;  ///< may be null if there was no residual: it is then recomputed from x
  const T* diff_y;
  T* diff_residual;                   ///< receives g; may be diff_y; null if diff_y is g already or g isn't needed
  const T* diff_x_before;             ///< may be null
  std::int64_t diff_x_before_stride;  ///< from a row of diff_x_before to the next
  T* diff_x;                          ///< null if it isn't needed; may be diff_x_before if their row strides are equal
  float* diff_weight;
  float* diff_bias;
};
template <class T>
void batch_norm_backward(const BatchNormShape& shape, const BatchNormParameters& parameters, Activation activation,
                         const BatchNormBackward<T>& tensors, float* scratch);

/// Backward with constant mean, variance, weight and bias: diff_x = weight / sqrt(variance + eps) * g, plus
/// diff_x_before. Reads diff_y and, if there is an activation, y; writes diff_x and diff_residual.
template <class T>
void batch_norm_backward_frozen(const BatchNormShape& shape, const BatchNormParameters& parameters,
                                Activation activation, const BatchNormBackward<T>& tensors, float* scratch);

}  // namespace facet::kernels
