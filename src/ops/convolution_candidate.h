#pragma once

#include <memory>
#include <string>
#include <vector>

#include "facet/ops.h"
#include "lowering/lowering.h"
#include "ops/activation.h"

namespace facet {

/// What a program computes along with a convolution that it needs no gradient of (in inference: any): parameters 1 and
/// on (2 and on after a bias) are the batch normalisation's, input 1 the residual.
struct ConvolutionTail {
  bool batch_norm = false;
  float eps = 0;
  bool residual = false;
  kernels::Activation activation = kernels::Activation::none;
};

/// The same convolution with what follows it; null when `op` is none, or has something after it already.
std::shared_ptr<const Op> with_tail_after_convolution(const Op& op, const ConvolutionTail& tail);

/// A convolution as one program has it.
struct ConvolutionTask {
  ConvolutionOptions options;
  ConvolutionTail tail;
  onednn::Dims src, dst;                              ///< {batch, channels, height, width}
  onednn::Type type;                                  ///< of activations
  bool training;                                      ///< backward must give something
  bool of_image;                                      ///< src is the graph's image
  bool src_gradient, weight_gradient, bias_gradient;  ///< what backward must give

  bool adds_bias() const { return options.bias || tail.batch_norm; }
  /// {out, in, height, width}; in groups {groups, out of one, in of one, height, width}.
  onednn::Dims weights() const {
    const auto& o = options;
    if (o.groups == 1) return {o.channels, src[1], o.kernel, o.kernel};
    return {o.groups, o.channels / o.groups, src[1] / o.groups, o.kernel, o.kernel};
  }
};

/// One way to compute it: primitives or kernels, forward and backward, that share one pair of layouts.
class ConvolutionCandidate {
 public:
  virtual ~ConvolutionCandidate() = default;

  virtual std::string name() const = 0;
  virtual onednn::Layout src() const = 0;
  virtual onednn::Layout dst() const = 0;
  /// Of all its parts; those left when it has taken twice `best` are not run.
  virtual double seconds(double best) const = 0;
  virtual lowering::Backward lower(lowering::Lowering& lowering) const = 0;
};

/// The weights, or what a batch normalisation makes of them: weight * its weight / sqrt(variance + eps).
lowering::Tensor convolution_weights(lowering::Lowering& lowering, const ConvolutionTask& task,
                                     const onednn::Layout& wanted);
/// The bias, or what a batch normalisation makes of it: (bias - mean) * its weight / sqrt(variance + eps) + its bias.
/// f32 {channels}. Only where the task adds one.
lowering::Tensor convolution_bias(lowering::Lowering& lowering, const ConvolutionTask& task);

/// Both, written as constants for other programs.
std::vector<Operand> write_folded(OperatorWriter& writer, const ConvolutionOptions& options, float eps);

/// The bias' gradient from the output's in channels-last order, for candidates that don't get it in passing.
lowering::Tensor emit_bias_gradient(lowering::Lowering& lowering, const ConvolutionTask& task);
double bias_gradient_seconds(const ConvolutionTask& task, double best);

using ConvolutionCandidates = std::vector<std::shared_ptr<const ConvolutionCandidate>>;

/// oneDNN's: its direct convolution in channels-last order first; a strided one of the image in blocks of pixels too.
ConvolutionCandidates onednn_convolutions(const ConvolutionTask& task);
/// Our own Winograd kernels, where the task is one for them: 3x3, stride 1, one group.
ConvolutionCandidates winograd_convolutions(const ConvolutionTask& task);
/// oneDNN's with the weights' gradient by our own AMX kernel: in training, in bf16, stride 1, one group.
ConvolutionCandidates amx_convolutions(const ConvolutionTask& task);

}  // namespace facet
