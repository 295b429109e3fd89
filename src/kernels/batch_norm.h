#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "kernels/activation.h"
#include "kernels/max_pool.h"

/// Batch normalisation (Ioffe and Szegedy, 2015) of channels-last activations {rows, channels}: a row is a pixel of an
/// image. T is float or, for bf16, std::uint16_t. Sums are in f32, by blocks of rows; the same shape, including its
/// threads, gives the same bits.
namespace facet::kernels {

struct BatchNormShape {
  std::int64_t rows, channels;
  std::int64_t threads;   ///< threads that the work is divided for, however many run it; sets the scratch size
  std::int64_t x_stride;  ///< from a row of x to the next: channels, or more if x is the first part of wider rows
  /// Max pooling after the activation, where the rows are those of whole images; not with a residual. Forward writes
  /// the pooled rows alone, and backward reads their gradient.
  std::optional<MaxPoolShape> pool = {};

  std::int64_t y_rows() const {
    return pool ? rows / (pool->height * pool->width) * pool->out_height * pool->out_width : rows;
  }
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

/// Combines the statistics of several processes, each of a part of the rows: mean and biased variance of all rows, in
/// the order of the processes and in double. Those of one process alone come out as they are.
/// @param images of each process, of `rows_per_image` rows each; where there are none, the process's statistics aren't
///   read. One process must have some.
/// @param parts {processes, part_stride}: the means of a process's channels, then their variances.
void batch_norm_combine_statistics(std::int64_t channels, std::span<const std::int64_t> images,
                                   std::int64_t rows_per_image, const float* parts, std::int64_t part_stride,
                                   float* mean, float* variance);

/// Computes y, adds the residual unless it is null, then applies the activation, and pools.
/// @param indices with pooling: receives the index of each maximum, {y_rows(), channels}, for backward; else null.
template <class T>
void batch_norm_forward(const BatchNormShape& shape, const BatchNormParameters& parameters, const T* x,
                        const T* residual, Activation activation, T* y, std::uint8_t* indices, float* scratch);

/// What backward reads and writes. Let g be diff_y, with pooling the sum of diff_y of the windows whose maximum the
/// value is, but 0 where the activation is flat (y <= 0, and y >= 6 for relu6). Then
/// diff_bias = sum(g), diff_weight = sum(g * (x - mean)) / sqrt(variance + eps),
/// diff_x = weight / sqrt(variance + eps) * (g - mean(g) - (x - mean) / (variance + eps) * mean(g * (x - mean))),
/// plus diff_x_before unless that is null.
template <class T>
struct BatchNormBackward {
  const T* x;
  const T* y;  ///< may be null if there was no residual: it is then recomputed from x; not read with pooling
  const T* diff_y;
  T* diff_residual;                   ///< receives g; may be diff_y; null if diff_y is g already or g isn't needed
  const T* diff_x_before;             ///< may be null
  std::int64_t diff_x_before_stride;  ///< from a row of diff_x_before to the next
  T* diff_x;                          ///< null if it isn't needed; may be diff_x_before if their row strides are equal
  float* diff_weight;
  float* diff_bias;
  const std::uint8_t* indices = nullptr;  ///< with pooling: what forward has written
};
template <class T>
void batch_norm_backward(const BatchNormShape& shape, const BatchNormParameters& parameters, Activation activation,
                         const BatchNormBackward<T>& tensors, float* scratch);

/// The first part of backward where several processes have a part of the rows each, and mean and variance are those of
/// all rows. Computes the sums of this process's rows and writes diff_residual if it isn't null; the other gradients
/// aren't written.
/// @param sums receives {2, channels}: sum(g), then sum(g * (x - mean)).
template <class T>
void batch_norm_gradient_sums(const BatchNormShape& shape, const BatchNormParameters& parameters, Activation activation,
                              const BatchNormBackward<T>& tensors, double* sums, float* scratch);

/// The sums of all processes.
struct BatchNormSums {
  const double* parts;     ///< {processes, 2, channels}: what batch_norm_gradient_sums() gives; 0 where it has no rows
  std::int64_t processes;  ///< whose sums are added in this order
  std::int64_t own;        ///< index of this process
  std::int64_t rows;       ///< of all processes
};

/// The second part of backward: diff_x, from the sums of all processes, and this process's part of diff_weight and
/// diff_bias, from its own; their sums over the processes are the gradients. `tensors` are those of the first part:
/// what that wrote to diff_residual is read. With one process, both parts together give the bits of
/// batch_norm_backward().
template <class T>
void batch_norm_gradient(const BatchNormShape& shape, const BatchNormParameters& parameters, Activation activation,
                         const BatchNormBackward<T>& tensors, const BatchNormSums& sums, float* scratch);

/// Backward with constant mean, variance, weight and bias: diff_x = weight / sqrt(variance + eps) * g, plus
/// diff_x_before. Reads diff_y and, if there is an activation, y; writes diff_x and diff_residual. Without pooling.
template <class T>
void batch_norm_backward_frozen(const BatchNormShape& shape, const BatchNormParameters& parameters,
                                Activation activation, const BatchNormBackward<T>& tensors, float* scratch);

}  // namespace facet::kernels
