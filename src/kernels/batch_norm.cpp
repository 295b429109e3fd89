#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/batch_norm.cpp"
#include "kernels/batch_norm.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>
#include <type_traits>

#include "base/parallel.h"
#include "kernels/cache_lines.h"
#include "kernels/lanes-inl.h"
#include "kernels/max_pool-inl.h"

#ifndef FACET_KERNELS_BATCH_NORM_TYPES
#define FACET_KERNELS_BATCH_NORM_TYPES
namespace facet::kernels {

struct Rows {
  std::int64_t begin, end, channels, x_stride;
  const MaxPoolShape* pool;  ///< null: none
};

/// Two sums per channel.
struct ChannelSums {
  float* first;
  float* second;
};

/// The loops over a range of rows, compiled for one target.
template <class T>
struct BatchNormLoops {
  void (*statistics)(const T* x, const Rows& rows, const ChannelSums& sums);
  void (*forward)(const BatchNormParameters& p, const float* scale, const T* x, const T* residual,
                  Activation activation, T* y, const Rows& rows);
  /// Of pooled rows.
  void (*pooled_forward)(const BatchNormParameters& p, const float* scale, const T* x, Activation activation, T* y,
                         std::uint8_t* indices, const Rows& rows);
  void (*gradient_sums)(const BatchNormParameters& p, const float* scale, Activation activation,
                        const BatchNormBackward<T>& t, const Rows& rows, T* unpooled, const ChannelSums& sums);
  void (*backward)(const BatchNormParameters& p, const float* scale, Activation activation,
                   const BatchNormBackward<T>& t, const Rows& rows, T* unpooled, const ChannelSums& sums);
  void (*backward_frozen)(const BatchNormParameters& p, const float* scale, Activation activation,
                          const BatchNormBackward<T>& t, const Rows& rows);
};

/// Number of rows in a block that stays in the first- or second-level cache.
inline std::int64_t block_rows(std::int64_t channels) { return std::clamp<std::int64_t>(8192 / channels, 8, 128); }

}  // namespace facet::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

/// Calls body(group, c, n) for each `group` of 4 full vectors of channels from c on: their sums are independent of each
/// other, and rows are read in whole cache lines. Then calls it for each single vector that is left; the last one has n
/// channels.
template <class Body>
HWY_INLINE void for_each_group(std::int64_t channels, const Body& body) {
  constexpr int group = 4;
  const auto step = static_cast<std::int64_t>(lanes());
  std::int64_t c = 0;
  for (; c + group * step <= channels; c += group * step) body(std::integral_constant<int, group>(), c, lanes());
  for (; c < channels; c += step) {
    body(std::integral_constant<int, 1>(), c, static_cast<std::size_t>(std::min(step, channels - c)));
  }
}

/// Computes the means of some rows, and the sums of squared distances from them.
template <class T>
void statistics_of_rows(const T* x, const Rows& rows, const ChannelSums& sums) {
  const FloatTag tag;
  const std::int64_t block = block_rows(rows.channels);
  const auto step = static_cast<std::int64_t>(lanes());
  for (std::int64_t begin = rows.begin; begin < rows.end; begin += block) {
    const std::int64_t end = std::min(begin + block, rows.end);
    const auto count = static_cast<float>(end - begin);
    const auto before = static_cast<float>(begin - rows.begin);
    const Floats share = hn::Set(tag, count / (before + count));
    const Floats between = hn::Set(tag, before * (count / (before + count)));
    for_each_group(rows.channels, [&](auto group, std::int64_t c, std::size_t n) FACET_VECTOR_BODY {
      Floats mean[group], squares[group];
      for (int j = 0; j < group; ++j) mean[j] = squares[j] = hn::Zero(tag);
      for (std::int64_t row = begin; row < end; ++row) {
        const T* at = x + row * rows.x_stride + c;
        for (int j = 0; j < group; ++j) mean[j] = hn::Add(mean[j], load(at + j * step, n));
      }
      for (int j = 0; j < group; ++j) mean[j] = hn::Mul(mean[j], hn::Set(tag, 1 / count));
      for (std::int64_t row = begin; row < end; ++row) {
        const T* at = x + row * rows.x_stride + c;
        for (int j = 0; j < group; ++j) {
          const Floats distance = hn::Sub(load(at + j * step, n), mean[j]);
          squares[j] = hn::MulAdd(distance, distance, squares[j]);
        }
      }
      for (int j = 0; j < group; ++j) {
        float* means = sums.first + c + j * step;
        float* distances = sums.second + c + j * step;
        if (begin > rows.begin) {
          const Floats mean_before = load(means, n);
          const Floats apart = hn::Sub(mean[j], mean_before);
          mean[j] = hn::MulAdd(apart, share, mean_before);
          squares[j] = hn::MulAdd(hn::Mul(apart, apart), between, hn::Add(squares[j], load(distances, n)));
        }
        store(mean[j], means, n);
        store(squares[j], distances, n);
      }
    });
  }
}

/// The gradient with respect to the activation's argument. `value` is the activation's result or its argument; both
/// give the same mask.
HWY_INLINE Floats mask(Floats gradient, Floats value, Activation activation) {
  const Floats masked = hn::IfThenZeroElse(hn::Le(value, hn::Zero(FloatTag())), gradient);
  return activation == Activation::relu6 ? hn::IfThenZeroElse(hn::Ge(value, six()), masked) : masked;
}

/// The normalised value, before the residual is added and the activation is applied.
template <class T>
HWY_INLINE Floats normalise(const BatchNormParameters& p, const float* scale, const T* x, std::int64_t c,
                            std::size_t n) {
  return hn::MulAdd(hn::Sub(load(x, n), load(p.mean + c, n)), load(scale + c, n), load(p.bias + c, n));
}

template <class T>
void forward_of_rows(const BatchNormParameters& p, const float* scale, const T* x, const T* residual,
                     Activation activation, T* y, const Rows& rows) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    for_each_vector(rows.channels, [&](std::int64_t c, std::size_t n) FACET_VECTOR_BODY {
      const std::int64_t i = row * rows.channels + c;
      Floats value = normalise(p, scale, x + row * rows.x_stride + c, c, n);
      if (residual != nullptr) value = hn::Add(value, load(residual + i, n));
      store(activate(value, activation), y + i, n);
    });
  }
}

template <class T>
void pooled_forward_of_rows(const BatchNormParameters& p, const float* scale, const T* x, Activation activation, T* y,
                            std::uint8_t* indices, const Rows& rows) {
  max_pool_rows(*rows.pool, rows.channels, rows.begin, rows.end, activation, y, indices,
                [&](std::int64_t row, std::int64_t c, std::size_t n)
                    FACET_VECTOR_BODY { return normalise(p, scale, x + row * rows.x_stride + c, c, n); });
}

/// What backward begins with for the rows from `begin` to `end`: diff_y, or with pooling the gradient with respect to
/// the activation's argument.
/// @param unpooled memory for the latter.
template <class T>
HWY_INLINE const T* gradient_of_rows(const BatchNormBackward<T>& t, const Rows& rows, std::int64_t begin,
                                     std::int64_t end, T* unpooled) {
  if (rows.pool == nullptr) return t.diff_y + begin * rows.channels;
  max_pool_gradient_rows(*rows.pool, rows.channels, t.diff_y, t.indices, begin, end, unpooled);
  return unpooled;
}

/// The gradient with respect to the activation's argument, for `n` elements of the channels from c.
/// @param diff_y of these elements, as gradient_of_rows() gives it; x are the inputs, and y has the results from i on.
template <class T>
HWY_INLINE Floats masked_gradient(const BatchNormParameters& p, const float* scale, Activation activation,
                                  const BatchNormBackward<T>& t, const T* diff_y, std::int64_t i, const T* x,
                                  std::int64_t c, std::size_t n) {
  const Floats gradient = load(diff_y, n);
  if (activation == Activation::none) return gradient;
  return mask(gradient, t.y != nullptr ? load(t.y + i, n) : normalise(p, scale, x, c, n), activation);
}

/// Computes sum(g) and sum(g * (x - mean)) of some rows.
template <class T>
void gradient_sums_of_rows(const BatchNormParameters& p, const float* scale, Activation activation,
                           const BatchNormBackward<T>& t, const Rows& rows, T* unpooled, const ChannelSums& sums) {
  const FloatTag tag;
  const std::int64_t block = block_rows(rows.channels);
  const auto step = static_cast<std::int64_t>(lanes());
  for (std::int64_t begin = rows.begin; begin < rows.end; begin += block) {
    const std::int64_t end = std::min(begin + block, rows.end);
    const T* diff_y = gradient_of_rows(t, rows, begin, end, unpooled);
    for_each_group(rows.channels, [&](auto group, std::int64_t first, std::size_t n) FACET_VECTOR_BODY {
      Floats sum[group], products[group];
      for (int j = 0; j < group; ++j) sum[j] = products[j] = hn::Zero(tag);
      for (std::int64_t row = begin; row < end; ++row) {
        for (int j = 0; j < group; ++j) {
          const std::int64_t c = first + j * step;
          const std::int64_t i = row * rows.channels + c;
          const T* x = t.x + row * rows.x_stride + c;
          const T* diff = diff_y + (row - begin) * rows.channels + c;
          const Floats gradient = masked_gradient(p, scale, activation, t, diff, i, x, c, n);
          if (t.diff_residual != nullptr) store(gradient, t.diff_residual + i, n);
          sum[j] = hn::Add(sum[j], gradient);
          products[j] = hn::MulAdd(gradient, hn::Sub(load(x, n), load(p.mean + c, n)), products[j]);
        }
      }
      for (int j = 0; j < group; ++j) {
        float* sum_so_far = sums.first + first + j * step;
        float* products_so_far = sums.second + first + j * step;
        if (begin > rows.begin) {
          sum[j] = hn::Add(sum[j], load(sum_so_far, n));
          products[j] = hn::Add(products[j], load(products_so_far, n));
        }
        store(sum[j], sum_so_far, n);
        store(products[j], products_so_far, n);
      }
    });
  }
}

/// Adds diff_x_before, the contribution of x's other readers, unless it is null.
template <class T>
HWY_INLINE Floats add_before(Floats diff_x, const BatchNormBackward<T>& t, std::int64_t row, std::int64_t c,
                             std::size_t n) {
  if (t.diff_x_before == nullptr) return diff_x;
  return hn::Add(diff_x, load(t.diff_x_before + row * t.diff_x_before_stride + c, n));
}

/// @param sums mean(g), and mean(g * (x - mean)) / (variance + eps).
template <class T>
void backward_of_rows(const BatchNormParameters& p, const float* scale, Activation activation,
                      const BatchNormBackward<T>& t, const Rows& rows, T* unpooled, const ChannelSums& sums) {
  const std::int64_t block = block_rows(rows.channels);
  for (std::int64_t begin = rows.begin; begin < rows.end; begin += block) {
    const std::int64_t end = std::min(begin + block, rows.end);
    const T* diff_y = gradient_of_rows(t, rows, begin, end, unpooled);
    for (std::int64_t row = begin; row < end; ++row) {
      for_each_vector(rows.channels, [&](std::int64_t c, std::size_t n) FACET_VECTOR_BODY {
        const std::int64_t i = row * rows.channels + c;
        const T* x = t.x + row * rows.x_stride + c;
        const T* diff = diff_y + (row - begin) * rows.channels + c;
        const Floats gradient = masked_gradient(p, scale, activation, t, diff, i, x, c, n);
        const Floats distance = hn::Sub(load(x, n), load(p.mean + c, n));
        const Floats centred = hn::Sub(gradient, load(sums.first + c, n));
        const Floats rest = hn::NegMulAdd(distance, load(sums.second + c, n), centred);
        store(add_before(hn::Mul(load(scale + c, n), rest), t, row, c, n), t.diff_x + i, n);
      });
    }
  }
}

template <class T>
void backward_frozen_of_rows(const BatchNormParameters&, const float* scale, Activation activation,
                             const BatchNormBackward<T>& t, const Rows& rows) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    for_each_vector(rows.channels, [&](std::int64_t c, std::size_t n) FACET_VECTOR_BODY {
      const std::int64_t i = row * rows.channels + c;
      Floats gradient = load(t.diff_y + i, n);
      if (activation != Activation::none) gradient = mask(gradient, load(t.y + i, n), activation);
      if (t.diff_residual != nullptr) store(gradient, t.diff_residual + i, n);
      if (t.diff_x != nullptr) store(add_before(hn::Mul(load(scale + c, n), gradient), t, row, c, n), t.diff_x + i, n);
    });
  }
}

template <class T>
constexpr BatchNormLoops<T> loops{statistics_of_rows<T>,    forward_of_rows<T>,  pooled_forward_of_rows<T>,
                                  gradient_sums_of_rows<T>, backward_of_rows<T>, backward_frozen_of_rows<T>};

const BatchNormLoops<float>& loops_f32() { return loops<float>; }
const BatchNormLoops<std::uint16_t>& loops_bf16() { return loops<std::uint16_t>; }

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::kernels {

HWY_EXPORT(loops_f32);
HWY_EXPORT(loops_bf16);

namespace {

template <class T>
const BatchNormLoops<T>& loops_of() {
  if constexpr (std::is_same_v<T, float>) {
    return HWY_DYNAMIC_DISPATCH(loops_f32)();
  } else {
    return HWY_DYNAMIC_DISPATCH(loops_bf16)();
  }
}

/// The scratch memory: a row of `channels` for the scales, then two rows for the sums of each piece, then with pooling
/// a block of rows for each piece, which receives their gradient.
class Scratch {
 public:
  float* const scale;

  Scratch(float* memory, const BatchNormShape& shape)
      : scale(memory), row_(row_of(shape)), block_(block_of(shape)), blocks_(memory + (1 + 2 * shape.threads) * row_) {}

  static std::int64_t size(const BatchNormShape& shape) {
    return (1 + 2 * shape.threads) * row_of(shape) + shape.threads * block_of(shape);
  }
  ChannelSums of(std::int64_t piece) const {
    float* first = scale + (1 + 2 * piece) * row_;
    return {first, first + row_};
  }
  template <class T>
  T* unpooled(std::int64_t piece) const {
    return reinterpret_cast<T*>(blocks_ + piece * block_);
  }

 private:
  static std::int64_t row_of(const BatchNormShape& shape) { return whole_cache_lines(shape.channels); }
  static std::int64_t block_of(const BatchNormShape& shape) {
    return shape.pool ? whole_cache_lines(block_rows(shape.channels) * shape.channels) : 0;
  }

  std::int64_t row_, block_;
  float* blocks_;
};

/// Calls body(piece, rows) for each thread's share of `count` rows; returns the number of pieces.
template <class Body>
std::int64_t for_each_piece(const BatchNormShape& shape, std::int64_t count, const Body& body) {
  const std::int64_t pieces = std::min(shape.threads, count);
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      body(piece, Rows{piece * count / pieces, (piece + 1) * count / pieces, shape.channels, shape.x_stride,
                       shape.pool ? &*shape.pool : nullptr});
    }
  };
  base::parallel_for(pieces, 1, std::ref(run));
  return pieces;
}

/// Calls body(piece, rows) for each thread's share of the rows of x; returns the number of pieces.
template <class Body>
std::int64_t for_each_piece(const BatchNormShape& shape, const Body& body) {
  return for_each_piece(shape, shape.rows, body);
}

/// The activation that backward masks; none with pooling, since forward has marked in `indices` where it is flat.
Activation masked_activation(const BatchNormShape& shape, Activation activation) {
  return shape.pool ? Activation::none : activation;
}

/// Channels whose sums a thread merges at a time: a cache line of f32, so that threads write different ones. Their
/// sums don't depend on each other, so that the divisions of several channels overlap.
constexpr std::int64_t merged_channels = 16;

/// Calls body(first, channels) for groups of at most merged_channels channels, in parallel where the pieces' sums are
/// many.
template <class Body>
void merge(std::int64_t channels, std::int64_t pieces, const Body& body) {
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t group = begin; group < end; ++group) {
      const std::int64_t first = group * merged_channels;
      body(first, std::min(merged_channels, channels - first));
    }
  };
  constexpr std::int64_t min_sums = 2048;  // of a thread
  base::parallel_for((channels + merged_channels - 1) / merged_channels,
                     std::max<std::int64_t>(1, min_sums / (merged_channels * pieces)), std::ref(run));
}

void compute_scales(const BatchNormParameters& p, std::int64_t channels, float* scale) {
  for (std::int64_t c = 0; c < channels; ++c) scale[c] = p.weight[c] / std::sqrt(p.variance[c] + p.eps);
}

/// The mean of rows that come in parts, and the sum of squared distances from it, of at most merged_channels channels.
struct MergedStatistics {
  double mean[merged_channels] = {}, squares[merged_channels] = {};
  double count = 0;

  /// Adds a part of `rows` rows by Chan's formula; `part_squares(i)` is its sum of squared distances.
  template <class PartSquares>
  void add(double rows, std::int64_t channels, const float* part_mean, const PartSquares& part_squares) {
    for (std::int64_t i = 0; i < channels; ++i) {
      const double apart = part_mean[i] - mean[i];
      mean[i] += apart * rows / (count + rows);
      squares[i] += part_squares(i) + apart * apart * count * rows / (count + rows);
    }
    count += rows;
  }

  void store(std::int64_t channels, float* to_mean, float* to_variance) const {
    for (std::int64_t i = 0; i < channels; ++i) {
      to_mean[i] = static_cast<float>(mean[i]);
      to_variance[i] = static_cast<float>(squares[i] / count);
    }
  }
};

/// sum(g) and sum(g * (x - mean)) of a channel.
struct GradientSums {
  double sum, products;
};

/// The same of at most merged_channels channels.
struct MergedSums {
  double sum[merged_channels] = {}, products[merged_channels] = {};

  GradientSums of(std::int64_t i) const { return {sum[i], products[i]}; }

  template <class Value>
  void add(std::int64_t channels, const Value* part_sum, const Value* part_products) {
    for (std::int64_t i = 0; i < channels; ++i) {
      sum[i] += part_sum[i];
      products[i] += part_products[i];
    }
  }
};

/// Adds the sums of the pieces, for channels from `first` on.
MergedSums merge_pieces(const Scratch& memory, std::int64_t pieces, std::int64_t first, std::int64_t channels) {
  MergedSums merged;
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    const ChannelSums sums = memory.of(piece);
    merged.add(channels, sums.first + first, sums.second + first);
  }
  return merged;
}

/// Computes the sums of each piece of the rows, and writes diff_residual; returns the number of pieces.
template <class T>
std::int64_t sum_pieces(const BatchNormShape& shape, const BatchNormParameters& parameters, Activation activation,
                        const BatchNormBackward<T>& tensors, const Scratch& memory) {
  compute_scales(parameters, shape.channels, memory.scale);
  const auto gradient_sums = loops_of<T>().gradient_sums;
  return for_each_piece(shape, [&](std::int64_t piece, const Rows& rows) {
    gradient_sums(parameters, memory.scale, masked_activation(shape, activation), tensors, rows,
                  memory.unpooled<T>(piece), memory.of(piece));
  });
}

/// Computes what one channel's sums give: diff_bias and diff_weight from those of this process's rows, and, from those
/// of the `rows` rows of all processes, what backward_of_rows() needs.
template <class T>
void use_sums(const BatchNormParameters& parameters, std::int64_t c, const GradientSums& own, const GradientSums& all,
              double rows, const BatchNormBackward<T>& tensors, const ChannelSums& means) {
  const double variance = static_cast<double>(parameters.variance[c]) + parameters.eps;
  tensors.diff_bias[c] = static_cast<float>(own.sum);
  tensors.diff_weight[c] = static_cast<float>(own.products / std::sqrt(variance));
  means.first[c] = static_cast<float>(all.sum / rows);
  means.second[c] = static_cast<float>(all.products / rows / variance);
}

/// Computes diff_x, unless it is null, after diff_residual.
template <class T>
void compute_diff_x(const BatchNormShape& shape, const BatchNormParameters& parameters, Activation activation,
                    const BatchNormBackward<T>& tensors, const Scratch& memory, const ChannelSums& means) {
  if (tensors.diff_x == nullptr) return;
  // With a residual, diff_residual holds the gradient with the activation's mask applied: it isn't masked again.
  BatchNormBackward<T> masked = tensors;
  if (tensors.diff_residual != nullptr) masked.diff_y = tensors.diff_residual;
  const Activation still = tensors.diff_residual == nullptr ? masked_activation(shape, activation) : Activation::none;
  const auto backward = loops_of<T>().backward;
  for_each_piece(shape, [&](std::int64_t piece, const Rows& rows) {
    backward(parameters, memory.scale, still, masked, rows, memory.unpooled<T>(piece), means);
  });
}

}  // namespace

std::int64_t batch_norm_scratch(const BatchNormShape& shape) { return Scratch::size(shape); }

template <class T>
void batch_norm_statistics(const BatchNormShape& shape, const T* x, float* mean, float* variance, float* scratch) {
  const Scratch memory(scratch, shape);
  const auto statistics = loops_of<T>().statistics;
  const std::int64_t pieces =
      for_each_piece(shape, [&](std::int64_t piece, const Rows& rows) { statistics(x, rows, memory.of(piece)); });
  merge(shape.channels, pieces, [&](std::int64_t first, std::int64_t channels) {
    MergedStatistics merged;
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
      const auto rows = static_cast<double>((piece + 1) * shape.rows / pieces - piece * shape.rows / pieces);
      const ChannelSums sums = memory.of(piece);
      merged.add(rows, channels, sums.first + first, [&](std::int64_t i) { return sums.second[first + i]; });
    }
    merged.store(channels, mean + first, variance + first);
  });
}

void batch_norm_combine_statistics(std::int64_t channels, std::span<const std::int64_t> images,
                                   std::int64_t rows_per_image, const float* parts, std::int64_t part_stride,
                                   float* mean, float* variance) {
  merge(channels, static_cast<std::int64_t>(images.size()), [&](std::int64_t first, std::int64_t count) {
    MergedStatistics merged;
    const float* part = parts + first;
    for (const std::int64_t own : images) {
      const auto rows = static_cast<double>(own * rows_per_image);
      const float* variances = part + channels;
      if (own > 0) merged.add(rows, count, part, [&](std::int64_t i) { return variances[i] * rows; });
      part += part_stride;
    }
    merged.store(count, mean + first, variance + first);
  });
}

template <class T>
void batch_norm_forward(const BatchNormShape& shape, const BatchNormParameters& parameters, const T* x,
                        const T* residual, Activation activation, T* y, std::uint8_t* indices, float* scratch) {
  const Scratch memory(scratch, shape);
  compute_scales(parameters, shape.channels, memory.scale);
  const BatchNormLoops<T>& loops = loops_of<T>();
  for_each_piece(shape, shape.y_rows(), [&](std::int64_t, const Rows& rows) {
    if (shape.pool) {
      loops.pooled_forward(parameters, memory.scale, x, activation, y, indices, rows);
    } else {
      loops.forward(parameters, memory.scale, x, residual, activation, y, rows);
    }
  });
}

template <class T>
void batch_norm_backward(const BatchNormShape& shape, const BatchNormParameters& parameters, Activation activation,
                         const BatchNormBackward<T>& tensors, float* scratch) {
  const Scratch memory(scratch, shape);
  const std::int64_t pieces = sum_pieces(shape, parameters, activation, tensors, memory);
  const ChannelSums means = memory.of(0);
  merge(shape.channels, pieces, [&](std::int64_t first, std::int64_t channels) {
    const MergedSums own = merge_pieces(memory, pieces, first, channels);
    const auto rows = static_cast<double>(shape.rows);
    for (std::int64_t i = 0; i < channels; ++i) {
      use_sums(parameters, first + i, own.of(i), own.of(i), rows, tensors, means);
    }
  });
  compute_diff_x(shape, parameters, activation, tensors, memory, means);
}

template <class T>
void batch_norm_gradient_sums(const BatchNormShape& shape, const BatchNormParameters& parameters, Activation activation,
                              const BatchNormBackward<T>& tensors, double* sums, float* scratch) {
  const Scratch memory(scratch, shape);
  const std::int64_t pieces = sum_pieces(shape, parameters, activation, tensors, memory);
  merge(shape.channels, pieces, [&](std::int64_t first, std::int64_t channels) {
    const MergedSums own = merge_pieces(memory, pieces, first, channels);
    std::copy_n(own.sum, channels, sums + first);
    std::copy_n(own.products, channels, sums + shape.channels + first);
  });
}

template <class T>
void batch_norm_gradient(const BatchNormShape& shape, const BatchNormParameters& parameters, Activation activation,
                         const BatchNormBackward<T>& tensors, const BatchNormSums& sums, float* scratch) {
  const Scratch memory(scratch, shape);
  compute_scales(parameters, shape.channels, memory.scale);
  const ChannelSums means = memory.of(0);
  merge(shape.channels, sums.processes, [&](std::int64_t first, std::int64_t channels) {
    const auto part = [&](std::int64_t process) { return sums.parts + 2 * process * shape.channels + first; };
    MergedSums all;
    for (std::int64_t process = 0; process < sums.processes; ++process) {
      all.add(channels, part(process), part(process) + shape.channels);
    }
    const double* own = part(sums.own);
    const auto rows = static_cast<double>(sums.rows);
    for (std::int64_t i = 0; i < channels; ++i) {
      use_sums(parameters, first + i, {own[i], own[shape.channels + i]}, all.of(i), rows, tensors, means);
    }
  });
  compute_diff_x(shape, parameters, activation, tensors, memory, means);
}

template <class T>
void batch_norm_backward_frozen(const BatchNormShape& shape, const BatchNormParameters& parameters,
                                Activation activation, const BatchNormBackward<T>& tensors, float* scratch) {
  const Scratch memory(scratch, shape);
  compute_scales(parameters, shape.channels, memory.scale);
  const auto backward = loops_of<T>().backward_frozen;
  for_each_piece(
      shape, [&](std::int64_t, const Rows& rows) { backward(parameters, memory.scale, activation, tensors, rows); });
}

#define FACET_INSTANTIATE(T)                                                                                 \
  template void batch_norm_statistics<T>(const BatchNormShape&, const T*, float*, float*, float*);           \
  template void batch_norm_forward<T>(const BatchNormShape&, const BatchNormParameters&, const T*, const T*, \
                                      Activation, T*, std::uint8_t*, float*);                                \
  template void batch_norm_backward<T>(const BatchNormShape&, const BatchNormParameters&, Activation,        \
                                       const BatchNormBackward<T>&, float*);                                 \
  template void batch_norm_gradient_sums<T>(const BatchNormShape&, const BatchNormParameters&, Activation,   \
                                            const BatchNormBackward<T>&, double*, float*);                   \
  template void batch_norm_gradient<T>(const BatchNormShape&, const BatchNormParameters&, Activation,        \
                                       const BatchNormBackward<T>&, const BatchNormSums&, float*);           \
  template void batch_norm_backward_frozen<T>(const BatchNormShape&, const BatchNormParameters&, Activation, \
                                              const BatchNormBackward<T>&, float*)
FACET_INSTANTIATE(float);
FACET_INSTANTIATE(std::uint16_t);
#undef FACET_INSTANTIATE

}  // namespace facet::kernels
#endif
