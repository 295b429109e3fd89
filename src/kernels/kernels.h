#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

/// Our own SIMD kernels, written once on Highway and dispatched at run time to the best instruction set. Each runs on
/// base::parallel_for and allocates nothing. bf16 is held as std::uint16_t, rounded to nearest even; NaN stays NaN.

namespace facet::kernels {

// --- conversions -----------------------------------------------------------------------------------------------------

/// to[i] = bf16(from[i]).
void to_bf16(const float* from, std::uint16_t* to, std::int64_t count);
/// to[i] = float(from[i]).
void from_bf16(const std::uint16_t* from, float* to, std::int64_t count);

// --- pixels ----------------------------------------------------------------------------------------------------------

/// Where the elements of a batch of activations lie: element (n, c, y, x) at n * image + c * channel + y * row + x *
/// column.
struct PixelStrides {
  std::int64_t image, channel, row, column;
};

/// (pixel / 255 - mean) / std of 8-bit {images, height, width, 3}, into f32 or bf16 (exactly one of the two is not
/// null), with any strides of the destination (channels-last and planar are fast).
void pixels_to_input(const std::uint8_t* pixels, std::int64_t images, std::int64_t height, std::int64_t width,
                     const std::array<float, 3>& mean, const std::array<float, 3>& std, const PixelStrides& strides,
                     float* to_f32, std::uint16_t* to_bf16);

/// A batch of images whose blocks of pixels are positions: {images, rows, columns, block_height, block_width, 3}, where
/// element (n, y, x, dy, dx, c) is channel c of row y * block_height + dy - top, column x * block_width + dx - left,
/// and zero outside the image.
struct PixelBlocks {
  std::int64_t block_height, block_width;  ///< in pixels
  std::int64_t top, left;                  ///< zeros before the first row and column of pixels
  std::int64_t rows, columns;              ///< of blocks; what pixels lie beyond them are left out
};

/// The same numbers as pixels_to_input's, in blocks.
void pixels_to_blocks(const std::uint8_t* pixels, std::int64_t images, std::int64_t height, std::int64_t width,
                      const std::array<float, 3>& mean, const std::array<float, 3>& std, const PixelBlocks& blocks,
                      float* to_f32, std::uint16_t* to_bf16);

// --- rows ------------------------------------------------------------------------------------------------------------

/// Copies `bytes` of each row; strides are in bytes, from a row to the next.
void copy_rows(std::int64_t rows, std::int64_t bytes, const std::byte* from, std::int64_t from_stride, std::byte* to,
               std::int64_t to_stride);

// --- dropout ---------------------------------------------------------------------------------------------------------

/// The stream of one dropout op in one step.
struct DropoutKey {
  std::uint64_t seed;
  std::uint64_t step;
  std::uint32_t op;  ///< tells the dropout ops of a graph apart
};

/// y = keep ? scale * x + kept_shift : dropped, where keep is drawn with probability 1 - rate from (key, first + i)
/// alone, i being the element's index in the batch in logical (NCHW) order. Plain dropout: scale 1 / (1 - rate), the
/// rest 0. Alpha dropout: see alpha_dropout_rule. In place where to == from.
struct DropoutRule {
  float rate, scale, kept_shift, dropped;
};
/// @throws Error when the rate isn't in [0, 1).
DropoutRule dropout_rule(float rate);
/// Klambauer et al. 2017, section "New dropout technique": a * (x * d + alpha' * (1 - d)) + b, alpha' =
/// -1.7580993408473766, a = (q + alpha'^2 * q * (1 - q))^-1/2, b = -a * (1 - q) * alpha', q = 1 - rate.
DropoutRule alpha_dropout_rule(float rate);

void dropout_forward(const float* from, float* to, std::int64_t count, const DropoutRule& rule, const DropoutKey& key,
                     std::uint64_t first);
void dropout_forward(const std::uint16_t* from, std::uint16_t* to, std::int64_t count, const DropoutRule& rule,
                     const DropoutKey& key, std::uint64_t first);
/// gradient_from[i] = keep ? scale * gradient_to[i] : 0, with the same draws.
void dropout_backward(const float* gradient_to, float* gradient_from, std::int64_t count, const DropoutRule& rule,
                      const DropoutKey& key, std::uint64_t first);
void dropout_backward(const std::uint16_t* gradient_to, std::uint16_t* gradient_from, std::int64_t count,
                      const DropoutRule& rule, const DropoutKey& key, std::uint64_t first);

// --- adaptive average pooling ----------------------------------------------------------------------------------------

/// {images, height, width, channels} to {images, out_height, out_width, channels}, channels innermost.
struct AdaptivePoolShape {
  std::int64_t images, channels, height, width, out_height, out_width;
};
/// A range of rows or columns.
struct AdaptiveWindow {
  std::int64_t begin, end;
  std::int64_t size() const { return end - begin; }
};
/// The inputs that output i of `count` averages, of `extent` ones; and, with the two changed for each other, the
/// outputs that input i is a part of.
inline AdaptiveWindow adaptive_window(std::int64_t i, std::int64_t count, std::int64_t extent) {
  return {i * extent / count, ((i + 1) * extent + count - 1) / count};
}
/// Means over windows, in rows and in columns; f32 or bf16, with sums in f32.
void adaptive_average_pool_forward(const AdaptivePoolShape& shape, const float* x, float* y);
void adaptive_average_pool_forward(const AdaptivePoolShape& shape, const std::uint16_t* x, std::uint16_t* y);
void adaptive_average_pool_backward(const AdaptivePoolShape& shape, const float* diff_y, float* diff_x);
void adaptive_average_pool_backward(const AdaptivePoolShape& shape, const std::uint16_t* diff_y, std::uint16_t* diff_x);

// --- loss ------------------------------------------------------------------------------------------------------------

/// How a head's labels count in its loss, and its loss in the sum of the heads'.
struct LossRule {
  double smoothing = 0;  ///< this share of each label goes to all classes alike (Szegedy et al. 2016), 0 up to below 1
  std::vector<double> class_weights = {};  ///< empty: 1 each
  double weight = 1;                       ///< of the head
};

struct LossSums {
  double loss = 0;            ///< sum of cross-entropies over the labelled images, in nats
  std::int64_t labelled = 0;  ///< images with a label
  std::int64_t correct = 0;   ///< of those: images whose largest logit is the label's (the first of equals)
  double weight = 0;          ///< of the labelled images' classes: what the loss's mean is taken over

  /// 0 where no image weighs anything.
  double mean() const { return weight > 0 ? loss / weight : 0; }
};

/// Softmax and cross-entropy of f32 logits {images, classes}; labels are class indices, -1 for none. The sums are taken
/// in the order of the images. A labelled image with a logit that isn't finite makes the loss NaN.
///
/// With smoothing s and class weights w an image of label y loses, as by PyTorch's cross_entropy, sum over c of
/// -target[c] * log(probability[c]), target[c] = (1 - s) w[y] [c == y] + s / classes * w[c].
/// @param probabilities {images, classes}, may be null.
LossSums softmax_cross_entropy(const float* logits, const std::int32_t* labels, std::int64_t images,
                               std::int64_t classes, float* probabilities, const LossRule& rule = {});
/// gradient[n, c] = (probabilities[n, c] * sum(target) - target[c]) * rule.weight / label_weight; 0 for images without
/// a label. @param label_weight LossSums::weight.
void softmax_cross_entropy_backward(const float* probabilities, const std::int32_t* labels, std::int64_t images,
                                    std::int64_t classes, double label_weight, float* gradient,
                                    const LossRule& rule = {});

}  // namespace facet::kernels
