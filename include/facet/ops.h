#pragma once

#include <optional>
#include <string>
#include <vector>

#include "facet/export.h"
#include "facet/graph.h"

/// The ops: each function adds a node to its input's graph, with the parameters that it owns, and returns the output.
/// Shapes are without the batch: {channels, height, width} for images, {features} for vectors. Every function throws
/// Error, naming the op and the shapes, when they don't fit, and then leaves the graph as it was. `name` is the last
/// part of the node's and parameters' names, as a PyTorch module attribute would be.

namespace facet {

struct ConvolutionOptions {
  std::int64_t channels = 0;  ///< output channels, at least 1; a multiple of groups
  std::int64_t kernel = 3;    ///< height and width; at least 1
  std::int64_t stride = 1;    ///< at least 1
  std::int64_t padding = -1;  ///< zeros on every side, at least 0; -1: kernel / 2
  std::int64_t groups = 1;    ///< a divisor of the input's channels: all of them for a depthwise convolution
  bool bias = false;
  std::optional<Initializer> weight_initializer{}, bias_initializer{};  ///< nothing: as PyTorch does
  std::string name = "conv";
};
/// 2-D convolution (PyTorch: Conv2d). Weights {channels, input channels / groups, kernel, kernel}, initialised, unless
/// the options say otherwise, as PyTorch does: uniform in +-1/sqrt(fan in), weight and bias alike.
FACET_EXPORT Value convolution(Value x, const ConvolutionOptions& options);

struct BatchNormOptions {
  float eps = 1e-5F;
  float momentum = 0.1F;  ///< running = (1 - momentum) * running + momentum * batch statistic
  std::string name = "bn";
};
/// Batch normalisation over batch, height and width (Ioffe and Szegedy 2015; PyTorch: BatchNorm2d). Normalises with the
/// biased variance; running_var takes the unbiased one. A training program for a batch with one value per channel (one
/// image of 1x1) is refused, as PyTorch does: it has no variance.
FACET_EXPORT Value batch_norm(Value x, const BatchNormOptions& options = {});

/// max(x, 0).
FACET_EXPORT Value relu(Value x);
/// min(max(x, 0), 6).
FACET_EXPORT Value relu6(Value x);
/// x + y, of equal shapes.
FACET_EXPORT Value add(Value x, Value y);
/// Channels of all inputs one after another; heights and widths are equal.
FACET_EXPORT Value concat(const std::vector<Value>& inputs);

struct PoolOptions {
  std::int64_t kernel = 2;        ///< height and width; at least 1
  std::int64_t stride = 0;        ///< at least 1; 0: kernel
  std::int64_t padding = 0;       ///< on every side, 0 to kernel / 2; never a maximum
  bool count_include_pad = true;  ///< average pooling only, as PyTorch's
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
/// Mean over windows such that the output has these extents, whatever the input's (PyTorch: AdaptiveAvgPool2d): row i
/// of `height` over an input of `rows` averages rows floor(i * rows / height) up to, and without, ceil((i + 1) * rows /
/// height); columns likewise. Windows may overlap; a smaller input's values are repeated, one of these extents is
/// passed on as it is.
FACET_EXPORT Value adaptive_average_pool(Value x, const AdaptivePoolOptions& options);
/// {channels, height, width} to {channels * height * width}, in that order.
FACET_EXPORT Value flatten(Value x);

struct LinearOptions {
  std::int64_t features = 0;  ///< output features
  bool bias = true;
  std::optional<Initializer> weight_initializer{}, bias_initializer{};  ///< nothing: as PyTorch does
  std::string name = "linear";
};
/// x W^T + b (PyTorch: Linear), initialised, unless the options say otherwise, as PyTorch does: uniform in
/// +-1/sqrt(input features).
FACET_EXPORT Value linear(Value x, const LinearOptions& options);

/// Zeroes each element with probability `rate` and scales the rest by 1 / (1 - rate), in training only.
/// The mask is a function of (seed, step, node, position in the batch, element).
/// @param rate in [0, 1). @throws Error naming the op and the rate outside.
FACET_EXPORT Value dropout(Value x, float rate = 0.5F);
/// Alpha dropout (Klambauer et al. 2017, "Self-Normalizing Neural Networks"): dropped elements take SELU's negative
/// saturation value and an affine map restores zero mean and unit variance. In training only.
/// @param rate in [0, 1). @throws Error naming the op and the rate outside.
FACET_EXPORT Value alpha_dropout(Value x, float rate = 0.5F);

/// Softmax and cross-entropy against the head's labels, averaged over the images that carry a label (those with -1 take
/// no part; none at all gives 0). Declares the head: `logits` is {classes}, of at least 2.
/// @throws Error also when the graph has a head of that name.
FACET_EXPORT void softmax_cross_entropy(Value logits, std::string_view head);

}  // namespace facet
