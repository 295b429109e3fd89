#include "base/parallel.h"
#include "kernels/channel_sums.h"
#include "ops/convolution_candidate.h"

namespace facet::ops {

namespace {

using kernels::ChannelSumsShape;
using lowering::InstructionKind;
using lowering::Tensor;
using onednn::Layout;
using onednn::Type;

ChannelSumsShape shape_of(const ConvolutionTask& task) {
  const auto& y = task.dst;
  return {y[0] * y[2] * y[3], y[1], base::current_threads()};
}

Layout floats(std::int64_t count) { return onednn::plain({count}, Type::f32); }

template <class T>
lowering::Kernel kernel(const ChannelSumsShape& shape) {
  return [=](std::span<void* const> at, lowering::RunState&) {
    kernels::channel_sums(shape, static_cast<const T*>(at[0]), static_cast<float*>(at[1]), static_cast<float*>(at[2]));
  };
}

lowering::Kernel kernel_of(const ConvolutionTask& task) {
  return task.type == Type::bf16 ? kernel<std::uint16_t>(shape_of(task)) : kernel<float>(shape_of(task));
}

}  // namespace

Tensor emit_bias_gradient(lowering::Lowering& l, const ConvolutionTask& task) {
  const ChannelSumsShape shape = shape_of(task);
  const Tensor diff_bias = l.make(floats(shape.channels));
  l.emit("bias_gradient", InstructionKind::elementwise, "channel_sums",
         {l.output_gradient(onednn::channels_last(task.dst, task.type)), diff_bias,
          l.make(floats(kernels::channel_sums_scratch(shape)))},
         kernel_of(task));
  return diff_bias;
}

double bias_gradient_seconds(const ConvolutionTask& task, double best) {
  const ChannelSumsShape shape = shape_of(task);
  return lowering::measure(kernel_of(task),
                           {onednn::channels_last(task.dst, task.type), floats(shape.channels),
                            floats(kernels::channel_sums_scratch(shape))},
                           best);
}

}  // namespace facet::ops
