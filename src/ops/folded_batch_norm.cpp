#include <array>
#include <cmath>
#include <span>
#include <vector>

#include "ops/convolution_candidate.h"

namespace facet::ops {

namespace {

using lowering::InstructionKind;
using lowering::Kernel;
using lowering::Lowering;
using lowering::RunState;
using lowering::Tensor;
using onednn::Layout;
using onednn::Type;

/// A batch normalisation's parameters in a fused node, f32 {channels} each: weight, bias, running mean and variance.
std::vector<Tensor> batch_norm_parameters(Lowering& l, const ConvolutionTask& task) {
  const Layout channel = onednn::plain({task.options.channels}, Type::f32);
  const int first = task.options.bias ? 2 : 1;
  std::vector<Tensor> parameters;
  for (int i = 0; i < 4; ++i) parameters.push_back(l.parameter(first + i, channel));
  return parameters;
}

struct Folded {
  const float *weight, *bias, *mean, *variance;
  float eps;

  float scale(std::int64_t channel) const { return weight[channel] / std::sqrt(variance[channel] + eps); }
};

Folded folded(std::span<void* const> operands, float eps) {
  const auto at = [&](int i) { return static_cast<const float*>(operands[i]); };
  return {at(0), at(1), at(2), at(3), eps};
}

/// @param each the number of weights per output channel.
void fold_weights(const Folded& folded, std::int64_t channels, std::int64_t each, const float* from, float* to) {
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    const float scale = folded.scale(channel);
    for (std::int64_t i = channel * each; i < (channel + 1) * each; ++i) to[i] = from[i] * scale;
  }
}

/// @param before the convolution's own bias; null if it has none.
void fold_bias(const Folded& folded, std::int64_t channels, const float* before, float* to) {
  for (std::int64_t c = 0; c < channels; ++c) {
    to[c] = ((before != nullptr ? before[c] : 0) - folded.mean[c]) * folded.scale(c) + folded.bias[c];
  }
}

}  // namespace

Tensor convolution_weights(Lowering& l, const ConvolutionTask& task, const Layout& wanted) {
  if (!task.epilogue.batch_norm_eps) return l.parameter(0, wanted);
  const Layout plain = onednn::plain(task.weights(), Type::f32);
  const std::int64_t channels = task.options.channels;
  const std::int64_t each = static_cast<std::int64_t>(plain.get_size() / sizeof(float)) / channels;
  std::vector<Tensor> operands = batch_norm_parameters(l, task);
  operands.push_back(l.parameter(0, plain));
  const Kernel fold = [=, eps = *task.epilogue.batch_norm_eps](std::span<void* const> at, RunState&) {
    fold_weights(folded(at, eps), channels, each, static_cast<const float*>(at[4]), static_cast<float*>(at[5]));
  };
  const Tensor made = l.make_from_parameters("fold_weights", InstructionKind::convolution_forward, "fold_batch_norm",
                                             std::move(operands), plain, fold);
  return l.reorder_from_parameters(made, wanted);
}

Tensor convolution_bias(Lowering& l, const ConvolutionTask& task) {
  const Layout channel = onednn::plain({task.options.channels}, Type::f32);
  if (!task.epilogue.batch_norm_eps) return l.parameter(1, channel);
  std::vector<Tensor> operands = batch_norm_parameters(l, task);
  if (task.options.bias) operands.push_back(l.parameter(1, channel));
  const Kernel fold = [eps = *task.epilogue.batch_norm_eps, channels = task.options.channels, bias = task.options.bias](
                          std::span<void* const> at, RunState&) {
    fold_bias(folded(at, eps), channels, bias ? static_cast<const float*>(at[4]) : nullptr,
              static_cast<float*>(at[bias ? 5 : 4]));
  };
  return l.make_from_parameters("fold_bias", InstructionKind::convolution_forward, "fold_batch_norm",
                                std::move(operands), channel, fold);
}

std::vector<graph::Operand> write_folded(graph::OperatorWriter& writer, const ConvolutionOptions& options, float eps) {
  std::array<std::vector<float>, 4> tensors;
  for (int i = 0; i < 4; ++i) tensors[i] = writer.values((options.bias ? 2 : 1) + i);
  const Folded folded{tensors[0].data(), tensors[1].data(), tensors[2].data(), tensors[3].data(), eps};

  std::vector<float> weights = writer.values(0);
  const std::int64_t each = static_cast<std::int64_t>(weights.size()) / options.channels;
  fold_weights(folded, options.channels, each, weights.data(), weights.data());
  std::vector<float> bias = options.bias ? writer.values(1) : std::vector<float>(options.channels, 0.0F);
  fold_bias(folded, options.channels, bias.data(), bias.data());
  const Shape shape{options.channels, each / (options.kernel * options.kernel), options.kernel, options.kernel};
  return {writer.constant("weight", shape, weights), writer.constant("bias", {options.channels}, bias)};
}

}  // namespace facet::ops
