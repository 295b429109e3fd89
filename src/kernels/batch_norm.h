#pragma once

#include <cstdint>

#include "kernels/activation.h"

/// Batch normalisation (Ioffe and Szegedy, 2015) of channels-last activations {rows, channels}: a row is a pixel of an
/// image. T is float or, for bf16, std::uint16_t. Sums are in f32, by blocks of rows; the same shape, its threads
/// included, gives the same bits.
namespace facet::kernels {

struct BatchNormShape {
  std::int64_t rows, channels;
  std::int64_t threads;   ///< that the work is cut for, whatever runs it: the scratch memory depends on it
  std::int64_t x_stride;  ///< from a row of x to the next: channels, or more where x is the first of wider rows
};

/// y = (x - mean) * weight / sqrt(variance + eps) + bias, by channel.
struct BatchNormParameters {
  const float* mean;
  const float* variance;
  const float* weight;
  const float* bias;
  float eps;
};

/// Floats of scratch memory that any of these needs.
std::int64_t batch_norm_scratch(const BatchNormShape& shape);

/// Mean and biased variance of each channel, in one pass (Chan, Golub and LeVeque, 1979).
template <class T>
void batch_norm_statistics(const BatchNormShape& shape, const T* x, float* mean, float* variance, float* scratch);

/// y, plus the residual unless that is null, then the activation.
template <class T>
void batch_norm_forward(const BatchNormShape& shape, const BatchNormParameters& parameters, const T* x,
                        const T* residual, Activation activation, T* y, float* scratch);

/// What backward reads and writes. With g = diff_y, but 0 where the activation is flat (y <= 0, and y >= 6 of relu6):
/// diff_bias = sum(g), diff_weight = sum(g * (x - mean)) / sqrt(variance + eps),
/// diff_x = weight / sqrt(variance + eps) * (g - mean(g) - (x - mean) / (variance + eps) * mean(g * (x - mean))),
/// plus diff_x_before unless that is null.
template <class T>
struct BatchNormBackward {
  const T* x;
  const T* y;  ///< null: it is computed anew from x, as it may be where there was no residual
  const T* diff_y;
  T* diff_residual;                   ///< takes g, may be diff_y; null where diff_y is g already, or nobody wants it
  const T* diff_x_before;             ///< null: none
  std::int64_t diff_x_before_stride;  ///< from a row of it to the next
  T* diff_x;  ///< null where nobody wants it; may be diff_x_before, where their rows are as long
  float* diff_weight;
  float* diff_bias;
};
template <class T>
void batch_norm_backward(const BatchNormShape& shape, const BatchNormParameters& parameters, Activation activation,
                         const BatchNormBackward<T>& tensors, float* scratch);

/// The same where mean, variance, weight and bias stay as they are: diff_x = weight / sqrt(variance + eps) * g, plus
/// diff_x_before. Reads diff_y and, with an activation, y; writes diff_x and diff_residual.
template <class T>
void batch_norm_backward_frozen(const BatchNormShape& shape, const BatchNormParameters& parameters,
                                Activation activation, const BatchNormBackward<T>& tensors, float* scratch);

}  // namespace facet::kernels
