#include "base/parallel.h"
#include "kernels/amx_backward_weights.h"
#include "onednn/onednn.h"
#include "ops/convolution_candidate.h"

namespace facet::ops {

namespace {

using lowering::Backward;
using lowering::InstructionKind;
using lowering::Lowering;
using lowering::Tensor;
using onednn::Layout;
using onednn::Type;

/// Uses oneDNN for forward and backward data, and our own AMX kernel for the gradient of the weights.
class AmxConvolution final : public ConvolutionCandidate {
 public:
  AmxConvolution(const ConvolutionTask& task, std::shared_ptr<const ConvolutionCandidate> rest)
      : task_(task), rest_(std::move(rest)) {}

  std::string name() const override { return rest_->name() + ", weights amx"; }
  Layout src() const override { return rest_->src(); }
  Layout dst() const override { return rest_->dst(); }

  Backward lower(Lowering& l) const override {
    const Tensor x = l.input(0, src());
    return [self = *this, x, backward_data = rest_->lower(l)](Lowering& back) {
      // The gradient of the weights comes first, so that the saved input can be freed before the input's gradient is
      // allocated. The update of the weights comes last, because the input's gradient is computed with the old weights.
      const Tensor diff_weights = self.emit_backward_weights(back, x);
      const Tensor diff_bias = self.task_.bias_gradient ? emit_bias_gradient(back, self.task_) : Tensor();
      backward_data(back);
      back.set_parameter_gradient(0, diff_weights);
      if (diff_bias) back.set_parameter_gradient(1, diff_bias);
    };
  }

  double seconds(double best) const override {
    const double rest = rest_->seconds(best);
    if (rest > 2 * best) return rest;
    double total = rest + lowering::measure(kernel(), {src(), dst(), weight_layout(), scratch()}, best - rest / 2);
    if (task_.bias_gradient && total < 2 * best) total += bias_gradient_seconds(task_, best - total / 2);
    return total;
  }

 private:
  Layout weight_layout() const { return onednn::plain(task_.weights(), Type::f32); }
  Layout scratch() const { return onednn::plain({kernels::amx_backward_weights_scratch(shape())}, Type::f32); }

  kernels::AmxConvolutionShape shape() const {
    const auto& x = task_.src;
    const auto& y = task_.dst;
    return {
        x[0], x[1], x[2], x[3], y[1], y[2], y[3], task_.options.kernel, task_.options.padding, base::current_threads()};
  }

  Tensor emit_backward_weights(Lowering& l, const Tensor& x) const {
    const Tensor diff_weights = l.make(weight_layout());
    l.emit("backward_weights", InstructionKind::convolution_backward_weights, "amx_bf16",
           {x, l.output_gradient(dst()), diff_weights, l.make(scratch())}, kernel());
    return diff_weights;
  }

  lowering::Kernel kernel() const {
    return [s = shape()](std::span<void* const> operands, lowering::RunState&) {
      kernels::amx_backward_weights(s, static_cast<const std::uint16_t*>(operands[0]),
                                    static_cast<const std::uint16_t*>(operands[1]), static_cast<float*>(operands[2]),
                                    static_cast<float*>(operands[3]));
    };
  }

  ConvolutionTask task_;
  std::shared_ptr<const ConvolutionCandidate> rest_;
};

}  // namespace

ConvolutionCandidates amx_convolutions(const ConvolutionTask& task) {
  const auto& o = task.options;
  if (!task.weight_gradient || o.stride != 1 || o.groups != 1 || task.type != Type::bf16 || !kernels::has_amx_bf16()) {
    return {};
  }
  ConvolutionTask rest = task;
  rest.weight_gradient = false;
  rest.bias_gradient = false;
  ConvolutionCandidates found;
  for (auto& candidate : onednn_convolutions(rest)) {
    if (candidate->src() == onednn::channels_last(task.src, task.type) &&
        candidate->dst() == onednn::channels_last(task.dst, task.type)) {
      found.push_back(std::make_shared<const AmxConvolution>(task, std::move(candidate)));
    }
  }
  return found;
}

}  // namespace facet::ops
