#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <string_view>

#include "facet/error.h"
#include "facet/ops.h"
#include "lowering/lowering.h"
#include "ops/shape_rules.h"

namespace facet::ops {

namespace {

using lowering::Backward;
using lowering::InstructionKind;
using lowering::Lowering;
using lowering::Tensor;
using onednn::Dims;
using onednn::Layout;
using onednn::Type;

using InnerProductForward = dnnl::inner_product_forward;
using InnerProductBackwardData = dnnl::inner_product_backward_data;
using InnerProductBackwardWeights = dnnl::inner_product_backward_weights;

/// Reads the weights in forward's layout if the same implementation supports it: by default oneDNN's plain matrix
/// product takes them transposed, and large weights would be reordered in each step.
InnerProductBackwardData::primitive_desc describe_backward_data(const dnnl::primitive_attr& attr,
                                                                const InnerProductForward::primitive_desc& forward,
                                                                const Layout& diff_src, const Layout& any_weights,
                                                                const Layout& diff_dst) {
  const auto in_order = [&](const Layout& weights) {
    return onednn::describe_backward<InnerProductBackwardData>(attr, forward, diff_src, weights, diff_dst);
  };
  const auto free = in_order(any_weights);
  try {
    const auto same = in_order(forward.weights_desc());
    if (std::string_view(same.impl_info_str()) == free.impl_info_str()) return same;
  } catch (const dnnl::error&) {
    // No implementation supports that layout.
  }
  return free;
}

class Linear final : public lowering::LowerableOp {
 public:
  explicit Linear(const LinearOptions& options) : o_(options) {}

  std::string_view kind() const override { return "linear"; }
  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    require_inputs(inputs, 1);
    if (inputs[0].size() != 1 || o_.features < 1) {
      throw Error(
          fmt::format("input {} and {} output features found; a vector (flatten it first) and at least 1 are needed",
                      to_string(inputs[0]), o_.features));
    }
    return {o_.features};
  }
  double flops(const std::vector<Shape>& inputs, const Shape& output) const override {
    return static_cast<double>(output[0]) * (2.0 * static_cast<double>(inputs[0][0]) + (o_.bias ? 1 : 0));
  }
  bool has_weights() const override { return true; }
  graph::Operand write_operators(graph::OperatorWriter& writer) const override {
    std::vector<graph::Operand> operands{writer.input(0), writer.parameter(0)};
    const auto zeros = [&] { return std::vector<float>(o_.features, 0.0F); };
    operands.push_back(o_.bias ? writer.parameter(1) : writer.constant("bias", {o_.features}, zeros()));
    return writer.write("Gemm", operands, {{"transB", 1}});
  }

  Backward lower(Lowering& l) const override {
    // A flattened image is read in its layout: weights of {features, channels, height, width} hold the same elements.
    const Tensor src = l.input(0);
    Dims weight_dims = onednn::dims_of(src.layout);
    weight_dims[0] = o_.features;
    const Type type = l.activation_type();
    // For a single feature, oneDNN 3.12 gives the weights another order than a channels-last image, but multiplies both
    // as they lie in memory: the results would be wrong.
    const Layout weights =
        o_.features == 1 ? onednn::with_dims(src.layout, weight_dims) : onednn::any(weight_dims, type);
    const Layout bias = onednn::plain({o_.features}, Type::f32);
    const Layout dst_layout = onednn::plain(l.output_dims(), type);
    const auto attr = onednn::attributes();
    const auto kind = l.training() ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
    const auto forward = o_.bias
                             ? onednn::describe<InnerProductForward>(attr, kind, src.layout, weights, bias, dst_layout)
                             : onednn::describe<InnerProductForward>(attr, kind, src.layout, weights, dst_layout);
    const Tensor dst = l.make_output(forward.dst_desc());
    std::vector<std::pair<int, Tensor>> arguments{
        {DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, l.parameter(0, forward.weights_desc())}, {DNNL_ARG_DST, dst}};
    if (o_.bias) arguments.emplace_back(DNNL_ARG_BIAS, l.parameter(1, forward.bias_desc()));
    l.emit("forward", InstructionKind::linear, forward, InnerProductForward(forward), std::move(arguments));
    return [=, this](Lowering& back) { emit_backward(back, forward, src, weights); };
  }

 private:
  void emit_backward(Lowering& l, const InnerProductForward::primitive_desc& forward, const Tensor& src,
                     const Layout& weights) const {
    const auto attr = onednn::attributes();
    const Tensor diff_dst = l.output_gradient(forward.dst_desc());
    if (l.wants_gradient(0)) {
      const auto descriptor = describe_backward_data(attr, forward, src.layout, weights, diff_dst.layout);
      const Tensor diff_src = l.make(descriptor.diff_src_desc());
      l.emit("backward_data", InstructionKind::linear, descriptor, InnerProductBackwardData(descriptor),
             {{DNNL_ARG_DIFF_DST, diff_dst},
              {DNNL_ARG_WEIGHTS, l.parameter(0, descriptor.weights_desc())},
              {DNNL_ARG_DIFF_SRC, diff_src}});
      l.add_input_gradient(0, diff_src);
    }
    const bool wants_weights = l.wants_parameter_gradient(0);
    const bool wants_bias = o_.bias && l.wants_parameter_gradient(1);
    if (!wants_weights && !wants_bias) return;
    const Layout gradient = onednn::any(onednn::dims_of(weights), Type::f32);
    const Layout bias = onednn::plain({o_.features}, Type::f32);
    const auto descriptor = o_.bias ? onednn::describe_backward<InnerProductBackwardWeights>(
                                          attr, forward, src.layout, gradient, bias, diff_dst.layout)
                                    : onednn::describe_backward<InnerProductBackwardWeights>(attr, forward, src.layout,
                                                                                             gradient, diff_dst.layout);
    const Tensor diff_weights = l.make(descriptor.diff_weights_desc());
    std::vector<std::pair<int, Tensor>> arguments{
        {DNNL_ARG_SRC, src}, {DNNL_ARG_DIFF_DST, diff_dst}, {DNNL_ARG_DIFF_WEIGHTS, diff_weights}};
    Tensor diff_bias;
    if (o_.bias) {
      diff_bias = l.make(descriptor.diff_bias_desc());
      arguments.emplace_back(DNNL_ARG_DIFF_BIAS, diff_bias);
    }
    l.emit("backward_weights", InstructionKind::linear, descriptor, InnerProductBackwardWeights(descriptor),
           std::move(arguments));
    if (wants_weights) l.set_parameter_gradient(0, diff_weights);
    if (wants_bias) l.set_parameter_gradient(1, diff_bias);
  }

  LinearOptions o_;
};

}  // namespace

}  // namespace facet::ops

namespace facet {

Value linear(Value x, const LinearOptions& options) {
  const std::int64_t inputs = x.channels();
  const auto bound = static_cast<float>(1 / std::sqrt(static_cast<double>(inputs)));
  const std::string& name = options.name;
  const Initializer drawn = Initializer::uniform(bound);
  std::vector<Parameter> parameters{
      {name + ".weight", {options.features, inputs}, options.weight_initializer.value_or(drawn)}};
  if (options.bias) {
    parameters.push_back({name + ".bias", {options.features}, options.bias_initializer.value_or(drawn)});
  }
  return graph::apply(x.graph(), std::make_shared<const ops::Linear>(options), name, {x}, std::move(parameters));
}

}  // namespace facet
