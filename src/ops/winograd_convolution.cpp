#include <fmt/format.h>

#include "base/parallel.h"
#include "kernels/targets.h"
#include "kernels/winograd.h"
#include "onednn/onednn.h"
#include "ops/convolution_candidate.h"

namespace facet::ops {

namespace {

using kernels::Winograd;
using kernels::WinogradProducts;
using kernels::WinogradShape;
using kernels::WinogradWeights;
using lowering::Backward;
using lowering::InstructionKind;
using lowering::Lowering;
using lowering::RunState;
using lowering::Tensor;
using onednn::Layout;
using onednn::Type;

class WinogradConvolution final : public ConvolutionCandidate {
 public:
  WinogradConvolution(const ConvolutionTask& task, WinogradProducts products)
      : task_(task), products_(products), kernels_(&kernels::winograd_kernels(products)) {}

  std::string name() const override { return products_ == WinogradProducts::bf16 ? "winograd bf16" : "winograd f32"; }
  Layout src() const override { return onednn::channels_last(task_.src, task_.type); }
  Layout dst() const override { return onednn::channels_last(task_.dst, task_.type); }

  Backward lower(Lowering& l) const override {
    const Tensor x = l.input(0, src());
    const Tensor weights = convolution_weights(l, task_, weight_layout());
    const Tensor transformed =
        l.make_from_parameters("transform_weights", InstructionKind::convolution_forward, implementation(), {weights},
                               floats(kernels_->weights_size(task_.src[1], task_.dst[1])),
                               transform(task_.src[1], task_.dst[1], WinogradWeights::forward));
    const Tensor y = l.make_output(dst());
    const Tensor scratch = l.make(floats(kernels_->forward_scratch(shape())));
    std::vector<Tensor> operands{x, transformed, y, scratch};
    if (task_.adds_bias()) operands.push_back(convolution_bias(l, task_));
    if (task_.epilogue.residual) operands.push_back(l.input(1, dst()));
    l.emit("forward", InstructionKind::convolution_forward, implementation(), std::move(operands),
           forward(shape(), task_.adds_bias(), task_.epilogue));
    return [self = *this, x](Lowering& back) { self.lower_backward(back, x); };
  }

  double seconds(double best) const override {
    double total = 0;
    const auto add = [&](std::vector<Layout> operands, const lowering::Kernel& kernel) {
      if (total < 2 * best) total += lowering::measure(kernel, operands, best - total / 2);
    };
    const Layout weights = weight_layout();
    const std::int64_t in = task_.src[1];
    const std::int64_t out = task_.dst[1];
    const Layout transformed = floats(kernels_->weights_size(in, out));
    if (task_.training) add({weights, transformed}, transform(in, out, WinogradWeights::forward));
    std::vector<Layout> operands{src(), transformed, dst(), floats(kernels_->forward_scratch(shape()))};
    if (task_.adds_bias()) operands.push_back(floats(out));
    if (task_.epilogue.residual) operands.push_back(dst());
    add(operands, forward(shape(), task_.adds_bias(), task_.epilogue));
    if (task_.src_gradient) {
      const WinogradShape back = shape().backward_data();
      const Layout turned = floats(kernels_->weights_size(out, in));
      add({weights, turned}, transform(out, in, WinogradWeights::backward_data));
      add({dst(), turned, src(), floats(kernels_->forward_scratch(back))}, forward(back));
    }
    if (task_.weight_gradient) {
      add({src(), dst(), weights, floats(kernels_->backward_weights_scratch(shape()))}, backward_weights());
    }
    if (task_.bias_gradient && total < 2 * best) total += bias_gradient_seconds(task_, best - total / 2);
    return total;
  }

 private:
  std::string_view implementation() const {
    return products_ == WinogradProducts::bf16 ? "winograd_bf16" : "winograd_f32";
  }
  static Layout floats(std::int64_t count) { return onednn::plain({count}, Type::f32); }
  Layout weight_layout() const { return onednn::plain(task_.weights(), Type::f32); }
  bool bf16() const { return task_.type == Type::bf16; }

  WinogradShape shape() const {
    const auto& x = task_.src;
    const auto& y = task_.dst;
    return {x[0], x[1], x[2], x[3], y[1], y[2], y[3], task_.options.padding, base::current_threads()};
  }

  void lower_backward(Lowering& l, const Tensor& x) const {
    const Tensor diff_dst = l.output_gradient(dst());
    // The gradient of the weights comes first, so that the saved input can be freed before the input's gradient is
    // allocated.
    Tensor diff_weights;
    if (task_.weight_gradient) {
      diff_weights = l.make(weight_layout());
      const Tensor scratch = l.make(floats(kernels_->backward_weights_scratch(shape())));
      l.emit("backward_weights", InstructionKind::convolution_backward_weights, implementation(),
             {x, diff_dst, diff_weights, scratch}, backward_weights());
    }
    const Tensor diff_bias = task_.bias_gradient ? emit_bias_gradient(l, task_) : Tensor();
    if (task_.src_gradient) {
      const std::int64_t in = task_.src[1];
      const std::int64_t out = task_.dst[1];
      const WinogradShape back = shape().backward_data();
      const Tensor turned =
          l.make_from_parameters("turn_weights", InstructionKind::convolution_backward_data, implementation(),
                                 {l.parameter(0, weight_layout())}, floats(kernels_->weights_size(out, in)),
                                 transform(out, in, WinogradWeights::backward_data));
      const Tensor diff_src = l.make(src());
      const Tensor scratch = l.make(floats(kernels_->forward_scratch(back)));
      l.emit("backward_data", InstructionKind::convolution_backward_data, implementation(),
             {diff_dst, turned, diff_src, scratch}, forward(back));
      l.add_input_gradient(0, diff_src);
    }
    if (task_.weight_gradient) l.set_parameter_gradient(0, diff_weights);
    if (task_.bias_gradient) l.set_parameter_gradient(1, diff_bias);
  }

  // The kernels, which take their operands in the order in which the instructions name them.

  lowering::Kernel transform(std::int64_t in, std::int64_t out, WinogradWeights direction) const {
    return [=, w = kernels_](std::span<void* const> operands, RunState&) {
      w->transform_weights(static_cast<const float*>(operands[0]), in, out, direction,
                           static_cast<float*>(operands[1]));
    };
  }

  lowering::Kernel forward(const WinogradShape& s, bool bias = false, const Epilogue& epilogue = {}) const {
    return [=, w = kernels_, bf16 = bf16()](std::span<void* const> operands, RunState&) {
      if (bf16) {
        run_forward<std::uint16_t>(w->forward_bf16, s, operands, bias, epilogue);
      } else {
        run_forward<float>(w->forward, s, operands, bias, epilogue);
      }
    };
  }

  template <class T, class Forward>
  static void run_forward(const Forward& run, const WinogradShape& s, std::span<void* const> operands, bool bias,
                          const Epilogue& epilogue) {
    kernels::WinogradTail<T> last{.activation = epilogue.activation};
    if (bias) last.bias = static_cast<const float*>(operands[4]);
    if (epilogue.residual) last.residual = static_cast<const T*>(operands[bias ? 5 : 4]);
    run(s, static_cast<const T*>(operands[0]), static_cast<const float*>(operands[1]), last,
        static_cast<T*>(operands[2]), static_cast<float*>(operands[3]));
  }

  lowering::Kernel backward_weights() const {
    return [s = shape(), w = kernels_, bf16 = bf16()](std::span<void* const> operands, RunState&) {
      auto* diff_weights = static_cast<float*>(operands[2]);
      auto* scratch = static_cast<float*>(operands[3]);
      if (bf16) {
        w->backward_weights_bf16(s, static_cast<const std::uint16_t*>(operands[0]),
                                 static_cast<const std::uint16_t*>(operands[1]), diff_weights, scratch);
      } else {
        w->backward_weights(s, static_cast<const float*>(operands[0]), static_cast<const float*>(operands[1]),
                            diff_weights, scratch);
      }
    };
  }

  ConvolutionTask task_;
  WinogradProducts products_;
  const Winograd* kernels_;
};

}  // namespace

ConvolutionCandidates winograd_convolutions(const ConvolutionTask& task) {
  const auto& o = task.options;
  if (o.kernel != 3 || o.stride != 1 || o.groups != 1) return {};
  ConvolutionCandidates found;
  if (task.type == Type::bf16 && kernels::has_winograd(WinogradProducts::bf16)) {
    found.push_back(std::make_shared<const WinogradConvolution>(task, WinogradProducts::bf16));
  }
  found.push_back(std::make_shared<const WinogradConvolution>(task, WinogradProducts::f32));
  return found;
}

}  // namespace facet::ops
