#pragma once

#include <memory>
#include <string>
#include <vector>

#include "facet/ops.h"
#include "lowering/lowering.h"
#include "ops/fusion.h"

namespace facet::ops {

/// A convolution as it occurs in one program.
struct ConvolutionTask {
  ConvolutionOptions options;
  /// Only where no gradient of the convolution is needed (in inference: any). The batch normalisation's parameters
  /// begin at 1, or at 2 after a bias.
  Epilogue epilogue;
  onednn::Dims src, dst;                              ///< {batch, channels, height, width}
  onednn::Type type;                                  ///< of activations
  bool training;                                      ///< backward computes a gradient
  bool of_image;                                      ///< src is the graph's image
  bool src_gradient, weight_gradient, bias_gradient;  ///< which gradients backward computes

  bool adds_bias() const { return options.bias || epilogue.batch_norm_eps; }
  /// {out, in, height, width}; with several groups {groups, out per group, in per group, height, width}.
  onednn::Dims weights() const {
    const auto& o = options;
    if (o.groups == 1) return {o.channels, src[1], o.kernel, o.kernel};
    return {o.groups, o.channels / o.groups, src[1] / o.groups, o.kernel, o.kernel};
  }
};

/// One way to compute a convolution: primitives or kernels, forward and backward, that share one pair of layouts.
class ConvolutionCandidate {
 public:
  virtual ~ConvolutionCandidate() = default;

  virtual std::string name() const = 0;
  virtual onednn::Layout src() const = 0;
  virtual onednn::Layout dst() const = 0;
  /// Seconds of all its parts. Once they take twice `best`, the remaining parts are not run.
  virtual double seconds(double best) const = 0;
  virtual lowering::Backward lower(lowering::Lowering& lowering) const = 0;
};

/// The weights; with a batch normalisation, weight * batch_norm.weight / sqrt(variance + eps).
lowering::Tensor convolution_weights(lowering::Lowering& lowering, const ConvolutionTask& task,
                                     const onednn::Layout& wanted);
/// The bias; with a batch normalisation, (bias - mean) * batch_norm.weight / sqrt(variance + eps) + batch_norm.bias.
/// Its layout is f32 {channels}. Call only if the task adds a bias.
lowering::Tensor convolution_bias(lowering::Lowering& lowering, const ConvolutionTask& task);

/// Writes the weights and the bias, with the batch normalisation folded in, as constants of an exported model.
std::vector<graph::Operand> write_folded(graph::OperatorWriter& writer, const ConvolutionOptions& options, float eps);

/// Emits the gradient of the bias, computed from the output's gradient in channels-last order, for candidates that
/// don't compute it along with other gradients.
lowering::Tensor emit_bias_gradient(lowering::Lowering& lowering, const ConvolutionTask& task);
double bias_gradient_seconds(const ConvolutionTask& task, double best);

using ConvolutionCandidates = std::vector<std::shared_ptr<const ConvolutionCandidate>>;

/// oneDNN's convolutions: first the direct one in channels-last order; for a strided convolution of the image, also
/// those over blocks of pixels.
ConvolutionCandidates onednn_convolutions(const ConvolutionTask& task);
/// Our own Winograd kernels, where they support the task: 3x3, stride 1, one group.
ConvolutionCandidates winograd_convolutions(const ConvolutionTask& task);
/// oneDNN's convolutions with our own AMX kernel for the gradient of the weights: in training, in bf16, stride 1, one
/// group.
ConvolutionCandidates amx_convolutions(const ConvolutionTask& task);

}  // namespace facet::ops
