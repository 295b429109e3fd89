#include <cmath>

#include "ops/convolution_candidate.h"

namespace facet {

namespace {

using lowering::Kernel;
using lowering::Lowering;
using lowering::RunState;
using lowering::StepKind;
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
  const float* weight;
  const float* bias;
  const float* mean;
  const float* variance;
  float eps;

  Folded(std::span<void* const> operands, float epsilon) : eps(epsilon) {
    const auto at = [&](int i) { return static_cast<const float*>(operands[i]); };
    weight = at(0);
    bias = at(1);
    mean = at(2);
    variance = at(3);
  }
  float scale(std::int64_t channel) const { return weight[channel] / std::sqrt(variance[channel] + eps); }
};

}  // namespace

Tensor convolution_weights(Lowering& l, const ConvolutionTask& task, const Layout& wanted) {
  if (!task.tail.batch_norm) return l.parameter(0, wanted);
  const Layout plain = onednn::plain(task.weights(), Type::f32);
  const std::int64_t channels = task.options.channels;
  const std::int64_t each = static_cast<std::int64_t>(plain.get_size() / sizeof(float)) / channels;
  std::vector<Tensor> operands = batch_norm_parameters(l, task);
  operands.push_back(l.parameter(0, plain));
  const Kernel fold = [=, eps = task.tail.eps](std::span<void* const> at, RunState&) {
    const Folded folded(at, eps);
    const auto* from = static_cast<const float*>(at[4]);
    auto* to = static_cast<float*>(at[5]);
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      const float scale = folded.scale(channel);
      for (std::int64_t i = channel * each; i < (channel + 1) * each; ++i) to[i] = from[i] * scale;
    }
  };
  const Tensor folded = l.make_from_parameters("fold_weights", StepKind::convolution_forward, "fold_batch_norm",
                                               std::move(operands), plain, fold);
  return l.reorder_from_parameters(folded, wanted);
}

Tensor convolution_bias(Lowering& l, const ConvolutionTask& task) {
  const Layout channel = onednn::plain({task.options.channels}, Type::f32);
  if (!task.tail.batch_norm) return l.parameter(1, channel);
  std::vector<Tensor> operands = batch_norm_parameters(l, task);
  if (task.options.bias) operands.push_back(l.parameter(1, channel));
  const Kernel fold = [eps = task.tail.eps, channels = task.options.channels, bias = task.options.bias](
                          std::span<void* const> at, RunState&) {
    const Folded folded(at, eps);
    const auto* before = bias ? static_cast<const float*>(at[4]) : nullptr;
    auto* to = static_cast<float*>(at[bias ? 5 : 4]);
    for (std::int64_t c = 0; c < channels; ++c) {
      to[c] = ((before != nullptr ? before[c] : 0) - folded.mean[c]) * folded.scale(c) + folded.bias[c];
    }
  };
  return l.make_from_parameters("fold_bias", StepKind::convolution_forward, "fold_batch_norm", std::move(operands),
                                channel, fold);
}

}  // namespace facet
