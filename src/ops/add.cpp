#include <fmt/format.h>

#include "facet/error.h"
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

constexpr auto relu_by_dst = dnnl::algorithm::eltwise_relu_use_dst_for_bwd;

class Add final : public FusableOp {
 public:
  explicit Add(const Epilogue& epilogue = {}) : FusableOp(epilogue) {}

  std::string_view kind() const override { return epilogue_.has_activation() ? "add+relu" : "add"; }
  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    require_inputs(inputs, 2);
    if (inputs[0] != inputs[1]) {
      throw Error(
          fmt::format("shapes {} and {} found; equal shapes are needed", to_string(inputs[0]), to_string(inputs[1])));
    }
    return inputs[0];
  }
  double flops(const std::vector<Shape>&, const Shape& output) const override {
    return static_cast<double>(element_count(output));
  }
  graph::Operand write_operators(graph::OperatorWriter& writer) const override {
    return write({.residual = true, .activation = epilogue_.activation}, writer, writer.input(0));
  }
  std::shared_ptr<const graph::Op> with(const Epilogue& more) const override {
    const bool is_relu = !more.batch_norm_eps && !more.residual && more.activation == kernels::Activation::relu;
    return epilogue_.empty() && is_relu ? std::make_shared<const Add>(more) : nullptr;
  }

  Backward lower(Lowering& l) const override {
    const Tensor x = l.input(0);
    const Tensor y = l.input(1, x.layout);
    dnnl::primitive_attr attr = onednn::attributes();
    if (epilogue_.has_activation()) {
      dnnl::post_ops operations;
      onednn::append_relu(operations);
      attr.set_post_ops(operations);
    }
    const auto forward =
        onednn::describe<dnnl::binary>(attr, dnnl::algorithm::binary_add, x.layout, y.layout, x.layout);
    const Tensor dst = l.make_output(x.layout);
    l.emit("forward", InstructionKind::elementwise, forward, dnnl::binary(forward),
           {{DNNL_ARG_SRC_0, x}, {DNNL_ARG_SRC_1, y}, {DNNL_ARG_DST, dst}});
    l.mark_recomputable();
    return [=, this](Lowering& back) {
      const Tensor diff_dst = back.output_gradient(dst.layout);
      const Tensor diff = epilogue_.has_activation() ? emit_relu_backward(back, dst, diff_dst) : diff_dst;
      for (const int input : {0, 1}) {
        if (back.wants_gradient(input)) back.add_input_gradient(input, diff);
      }
    };
  }

 private:
  static Tensor emit_relu_backward(Lowering& l, const Tensor& dst, const Tensor& diff_dst) {
    const auto forward = onednn::eltwise_forward(relu_by_dst, dst.layout, 0.0F, 0.0F);
    const auto descriptor = onednn::eltwise_backward(relu_by_dst, diff_dst.layout, dst.layout, 0.0F, 0.0F, forward);
    const Tensor diff = l.make(dst.layout);
    l.emit("backward", InstructionKind::elementwise, descriptor, dnnl::eltwise_backward(descriptor),
           {{DNNL_ARG_DST, dst}, {DNNL_ARG_DIFF_DST, diff_dst}, {DNNL_ARG_DIFF_SRC, diff}});
    return diff;
  }
};

}  // namespace

bool is_add(const graph::Op& op) { return dynamic_cast<const Add*>(&op) != nullptr && op.kind() == "add"; }

}  // namespace facet::ops

namespace facet {

Value add(Value x, Value y) { return graph::apply(x.graph(), std::make_shared<const ops::Add>(), "add", {x, y}); }

}  // namespace facet
