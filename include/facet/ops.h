#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "facet/export.h"
#include "facet/graph.h"

/// The ops: each function adds a node to its input's graph, with the parameters that it owns, and returns the output.
/// Shapes leave out the batch: {channels, height, width} for images, {features} for vectors. Every function throws
/// Error, naming the op and the shapes, when the shapes don't fit, and then leaves the graph unchanged. `name` is the
/// last part of the node's and parameters' names, like the attribute of a PyTorch module.

namespace facet {

struct ConvolutionOptions {
  std::int64_t channels = 0;  ///< output channels, at least 1; a multiple of groups
  std::int64_t kernel = 3;    ///< height and width; at least 1
  std::int64_t stride = 1;    ///< at least 1
  std::int64_t padding = -1;  ///< zeros on every side, at least 0; -1: kernel / 2
  std::int64_t groups = 1;    ///< a divisor of the input's channels: all of them for a depthwise convolution
  bool bias = false;
  std::optional<Initializer> weight_initializer{}, bias_initializer{};  ///< empty: PyTorch's default
  std::string name = "conv";
};
/// 2-D convolution (PyTorch: Conv2d). The weights are {channels, input channels / groups, kernel, kernel}. By default,
/// weights and bias are initialised as in PyTorch: uniform in +-1/sqrt(fan in).
FACET_EXPORT Value convolution(Value x, const ConvolutionOptions& options);

struct BatchNormOptions {
  float eps = 1e-5F;
  float momentum = 0.1F;  ///< running = (1 - momentum) * running + momentum * batch statistic
  std::string name = "bn";
};
/// Batch normalisation over batch, height and width (Ioffe and Szegedy 2015; PyTorch: BatchNorm2d). Normalises with the
/// biased variance; running_var is updated with the unbiased one. Compiling a training program for a batch with one
/// value per channel (one image of 1x1), which has no variance, throws Error, as it does in PyTorch.
FACET_EXPORT Value batch_norm(Value x, const BatchNormOptions& options = {});

/// max(x, 0).
FACET_EXPORT Value relu(Value x);
/// min(max(x, 0), 6).
FACET_EXPORT Value relu6(Value x);
/// x + y, of equal shapes.
FACET_EXPORT Value add(Value x, Value y);
/// Concatenates the channels of the inputs, which have equal heights and widths.
FACET_EXPORT Value concat(const std::vector<Value>& inputs);

struct PoolOptions {
  std::int64_t kernel = 2;        ///< height and width; at least 1
  std::int64_t stride = 0;        ///< at least 1; 0: kernel
  std::int64_t padding = 0;       ///< on every side, 0 to kernel / 2; max pooling ignores padded elements
  bool count_include_pad = true;  ///< average pooling only: count padded zeros in the mean, as in PyTorch
};
/// Maximum over windows; output extents are rounded down.
FACET_EXPORT Value max_pool(Value x, const PoolOptions& options);
/// Mean over windows; output extents are rounded down.
FACET_EXPORT Value average_pool(Value x, const PoolOptions& options);
/// Mean over height and width: {channels, height, width} to {channels, 1, 1}.
FACET_EXPORT Value global_average_pool(Value x);

struct AdaptivePoolOptions {
  std::int64_t height = 1, width = 1;  ///< of the output; at least 1
};
/// Mean over windows that are chosen such that the output has the given extents for any input (PyTorch:
/// AdaptiveAvgPool2d): output row i averages input rows floor(i * rows / height) up to, but excluding, ceil((i + 1) *
/// rows / height), where the input has `rows` rows; columns are treated alike. Windows may overlap; the values of a
/// smaller input are repeated, and an input that has these extents already is returned unchanged.
FACET_EXPORT Value adaptive_average_pool(Value x, const AdaptivePoolOptions& options);
/// Reshapes {channels, height, width} to {channels * height * width}, in that order.
FACET_EXPORT Value flatten(Value x);

struct LinearOptions {
  std::int64_t features = 0;  ///< output features
  bool bias = true;
  std::optional<Initializer> weight_initializer{}, bias_initializer{};  ///< empty: PyTorch's default
  std::string name = "linear";
};
/// x W^T + b (PyTorch: Linear). By default, weights and bias are initialised as in PyTorch: uniform in
/// +-1/sqrt(input features).
FACET_EXPORT Value linear(Value x, const LinearOptions& options);

struct CoralOptions {
  std::int64_t classes = 0;                            ///< at least 2
  std::optional<Initializer> weight_initializer = {};  ///< empty: that of linear()
  std::string name = "coral";
};
/// The logits of coral_loss, {classes - 1}: x w + b[k] is the logit of P(class > k). All of them share one row of
/// weights, {1, input features}, and each has a bias, 0 at first (Cao, Mirjalili and Raschka 2020, "Rank consistent
/// ordinal regression for neural networks with application to age estimation"). The biases of a trained model are in
/// descending order, which makes the probabilities consistent, or nearly so: inference, and an exported ONNX file, take
/// them in descending order, by which no loss rises.
/// @param x {input features}. @throws Error naming the op when x isn't a vector, or there are fewer than two classes.
FACET_EXPORT Value coral(Value x, const CoralOptions& options);

/// Zeroes each element with probability `rate` and scales the rest by 1 / (1 - rate), in training only.
/// The mask is a function of (seed, step, node, position in the batch, element).
/// @param rate in [0, 1). @throws Error naming the op and the rate when it is out of range.
FACET_EXPORT Value dropout(Value x, float rate = 0.5F);
/// Alpha dropout (Klambauer et al. 2017, "Self-Normalizing Neural Networks"): dropped elements take SELU's negative
/// saturation value, and an affine map restores zero mean and unit variance. It is applied in training only.
/// @param rate in [0, 1). @throws Error naming the op and the rate when it is out of range.
FACET_EXPORT Value alpha_dropout(Value x, float rate = 0.5F);

/// Each of the following functions ends the graph in a loss and declares a head: `logits` is {outputs}. Targets come
/// from the batch (Batch::labels, Batch::targets). What has no target is masked: it adds nothing to the loss or the
/// gradient, and a batch without any target of the head has a loss of 0. A step's loss is the sum of the heads' losses,
/// each times its head's weight.
///
/// They throw Error also when the graph has a head of that name. In training, a run throws Error naming the head when a
/// target is wrong, when the loss is non-finite, and when the batch lacks the values that the loss needs.

/// Softmax and cross-entropy (PyTorch: cross_entropy) in nats, averaged over the images that have a target; at least 2
/// outputs. Targets are class indices (no_label: none), or, where Batch::targets has values for the head, a
/// distribution over the classes for each image (numbers of at least 0, not all of them 0; all NaN: none), and the
/// labels are not read. Label smoothing and class weights apply to both as in PyTorch: the mean of class indices is
/// weighted by the labels' class weights, that of distributions isn't.
FACET_EXPORT void softmax_cross_entropy(Value logits, std::string_view head);

/// The loss of classes that are ordered, such as ages: the sum over k of the binary cross-entropies, in nats, of [class
/// > k], of which the logits are P(class > k)'s, {classes - 1} (Cao et al. 2020, CORAL; see coral()). The predicted
/// class is the number of these probabilities above 0.5, and the probability of a class is the difference of two of
/// them, which is at least 0 where the logits are in descending order. Targets, label smoothing and class weights are
/// as for softmax_cross_entropy: a distribution mixes the losses of its classes.
/// @throws Error naming the head when it exists already, or the logits aren't a vector.
FACET_EXPORT void coral_loss(Value logits, std::string_view head);

/// Sigmoid and binary cross-entropy of each output (PyTorch: BCEWithLogitsLoss) in nats: several labels at once.
/// Targets are values from 0 to 1, one for each output (NaN: none); the mean is over those that are present. Label
/// smoothing and class weights don't apply.
FACET_EXPORT void binary_cross_entropy(Value logits, std::string_view head);

/// (output - target)^2 (PyTorch: MSELoss). Targets are finite values, one for each output (NaN: none); the mean is over
/// those that are present. Label smoothing and class weights don't apply.
FACET_EXPORT void mean_squared_error(Value outputs, std::string_view head);

/// One head's outputs for a batch, and its targets. The spans are valid during the call only.
struct LossInput {
  std::int64_t images = 0;
  std::int64_t outputs = 0;
  std::span<const float> logits = {};         ///< {images, outputs}
  std::span<const std::int32_t> labels = {};  ///< {images}: class indices; no_label where an image has none
  std::span<const float> targets = {};        ///< {images, outputs}, NaN where there is none; empty: the batch has none
};

/// Computes a loss of the caller's own: returns the loss of the whole batch, which for a mean is the mean over the
/// images with a target, and writes its derivative with respect to each logit to `gradient`.
/// @param gradient {images, outputs}, zeros; empty where only the loss is wanted.
using LossFunction = std::function<double(const LossInput& input, std::span<float> gradient)>;

/// A loss of the caller's own. The function is called once for each batch of training, and of evaluate() and
/// validation, there without a gradient; not for predictions, and not for a batch whose images have neither a label nor
/// a value for the head. It runs on the thread that trains or evaluates, with the settings of facet's compute
/// (denormals are zero). It doesn't know the head's weight, which facet applies to loss and gradient afterwards. Over
/// several batches, losses are averaged in proportion to the images that have a label or a value. Where several
/// processes train, each calls the function for its own images of the batch, and losses and gradients are averaged in
/// the same proportion: for a mean over images that is what one process computes. An exception of the function ends the
/// step before any parameter has changed, and reaches the caller; running statistics may have changed. Such a head has
/// no accuracy, and its outputs take the place of probabilities. A copy of a graph shares the function, which must
/// allow calls from several threads where both run at the same time.
/// @throws Error also when `function` is empty.
FACET_EXPORT void custom_loss(Value logits, std::string_view head, LossFunction function);

}  // namespace facet
