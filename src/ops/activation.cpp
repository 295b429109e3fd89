#include <memory>

#include "facet/ops.h"
#include "lowering/lowering.h"
#include "ops/fusion.h"
#include "ops/shape_rules.h"

namespace facet::ops {

namespace {

using lowering::Backward;
using lowering::InstructionKind;
using lowering::Lowering;
using lowering::Tensor;

/// An elementwise op whose gradient follows from its output.
class Activation final : public lowering::LowerableOp {
 public:
  Activation(std::string_view kind, dnnl::algorithm algorithm, float alpha, float beta)
      : kind_(kind), algorithm_(algorithm), alpha_(alpha), beta_(beta) {}

  std::string_view kind() const override { return kind_; }
  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    require_inputs(inputs, 1);
    return inputs[0];
  }
  double flops(const std::vector<Shape>&, const Shape& output) const override {
    return static_cast<double>(element_count(output));
  }
  graph::Operand write_operators(graph::OperatorWriter& writer) const override {
    return write(activation_of(*this), writer, writer.input(0));
  }

  Backward lower(Lowering& l) const override {
    const Tensor src = l.input(0);
    const auto forward = onednn::eltwise_forward(algorithm_, src.layout, alpha_, beta_);
    const Tensor dst = l.make_output(src.layout);
    l.emit("forward", InstructionKind::elementwise, forward, dnnl::eltwise_forward(forward),
           {{DNNL_ARG_SRC, src}, {DNNL_ARG_DST, dst}});
    l.mark_recomputable();
    return [=, this](Lowering& back) {
      if (!back.wants_gradient(0)) return;
      const Tensor diff_dst = back.output_gradient(dst.layout);
      const auto descriptor = onednn::eltwise_backward(algorithm_, diff_dst.layout, dst.layout, alpha_, beta_, forward);
      const Tensor diff_src = back.make(dst.layout);
      back.emit("backward", InstructionKind::elementwise, descriptor, dnnl::eltwise_backward(descriptor),
                {{DNNL_ARG_DST, dst}, {DNNL_ARG_DIFF_DST, diff_dst}, {DNNL_ARG_DIFF_SRC, diff_src}});
      back.add_input_gradient(0, diff_src);
    };
  }

 private:
  std::string_view kind_;
  dnnl::algorithm algorithm_;
  float alpha_;
  float beta_;
};

}  // namespace

kernels::Activation activation_of(const graph::Op& op) {
  for (const auto activation : {kernels::Activation::relu, kernels::Activation::relu6}) {
    if (op.kind() == name_of(activation)) return activation;
  }
  return kernels::Activation::none;
}

std::string_view name_of(kernels::Activation activation) {
  if (activation == kernels::Activation::none) return "";
  return activation == kernels::Activation::relu ? "relu" : "relu6";
}

graph::Operand write(kernels::Activation activation, graph::OperatorWriter& writer, graph::Operand x) {
  if (activation == kernels::Activation::relu) return writer.write("Relu", {x});
  if (activation == kernels::Activation::relu6) return writer.write("Clip", {x}, {{"min", 0.0F}, {"max", 6.0F}});
  return x;
}

graph::Operand write(const Epilogue& epilogue, graph::OperatorWriter& writer, graph::Operand x) {
  if (epilogue.residual) x = writer.write("Add", {x, writer.input(1)});
  return write(epilogue.activation, writer, x);
}

std::shared_ptr<const graph::Op> fuse(const graph::Op& op, const Epilogue& more) {
  const auto* found = dynamic_cast<const FusableOp*>(&op);
  return found != nullptr ? found->with(more) : nullptr;
}

void append(kernels::Activation activation, dnnl::post_ops& operations) {
  if (activation == kernels::Activation::relu) onednn::append_relu(operations);
  if (activation == kernels::Activation::relu6) onednn::append_clip(operations, 0, 6);
}

}  // namespace facet::ops

namespace facet {

Value relu(Value x) {
  return graph::apply(
      x.graph(),
      std::make_shared<const ops::Activation>(ops::name_of(kernels::Activation::relu),
                                              dnnl::algorithm::eltwise_relu_use_dst_for_bwd, 0.0F, 0.0F),
      "relu", {x});
}

Value relu6(Value x) {
  return graph::apply(
      x.graph(),
      std::make_shared<const ops::Activation>(ops::name_of(kernels::Activation::relu6),
                                              dnnl::algorithm::eltwise_clip_v2_use_dst_for_bwd, 0.0F, 6.0F),
      "relu6", {x});
}

}  // namespace facet
