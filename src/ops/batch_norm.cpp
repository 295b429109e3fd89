#include "ops/batch_norm.h"

#include <fmt/format.h>

#include "facet/error.h"
#include "facet/ops.h"
#include "lowering/lowering.h"
#include "ops/shape_rules.h"

namespace facet {

namespace {

using lowering::Backward;
using lowering::Lowering;
using lowering::RunState;
using lowering::StepKind;
using lowering::Tensor;
using onednn::Layout;
using onednn::Type;

enum ParameterIndex : std::uint8_t { weight, bias, running_mean, running_var, num_batches_tracked };

class BatchNorm final : public lowering::LowerableOp {
 public:
  BatchNorm(float eps, float momentum, bool relu) : eps_(eps), momentum_(momentum), relu_(relu) {}

  std::string_view kind() const override { return relu_ ? "batch_norm+relu" : "batch_norm"; }
  Shape infer_shape(const std::vector<Shape>& inputs) const override { return require_image(inputs.at(0)); }
  double flops(const std::vector<Shape>&, const Shape& output) const override {
    return 4.0 * static_cast<double>(element_count(output));
  }
  std::shared_ptr<const Op> with_relu() const {
    return relu_ ? nullptr : std::make_shared<const BatchNorm>(eps_, momentum_, true);
  }

  Backward lower(Lowering& l) const override {
    if (l.training() && values_per_channel(l) < 2) {
      throw Error(
          "1 value per channel found; training needs more than 1 (a larger batch or image): one has no variance");
    }
    const Tensor src = l.input(0);
    const auto descriptor = onednn::batch_norm_forward(l.training(), src.layout, eps_, relu_);
    const Layout channel = onednn::plain({l.input_dims(0)[1]}, Type::f32);
    const Tensor dst = l.make_output(descriptor.dst_desc());
    const Tensor mean = l.training() ? l.make(channel) : l.parameter(running_mean, channel);
    const Tensor variance = l.training() ? l.make(channel) : l.parameter(running_var, channel);
    std::vector<std::pair<int, Tensor>> arguments{{DNNL_ARG_SRC, src},
                                                  {DNNL_ARG_SCALE, l.parameter(weight, channel)},
                                                  {DNNL_ARG_SHIFT, l.parameter(bias, channel)},
                                                  {DNNL_ARG_MEAN, mean},
                                                  {DNNL_ARG_VARIANCE, variance},
                                                  {DNNL_ARG_DST, dst}};
    Tensor workspace;
    if (descriptor.workspace_desc().get_size() > 0) {
      workspace = l.make(descriptor.workspace_desc());
      arguments.emplace_back(DNNL_ARG_WORKSPACE, workspace);
    }
    l.emit("forward", StepKind::normalization, descriptor, dnnl::batch_normalization_forward(descriptor),
           std::move(arguments));
    if (!l.training()) return {};
    track_statistics(l, mean, variance);
    return [=, this](Lowering& back) { emit_backward(back, descriptor, src, mean, variance, workspace); };
  }

 private:
  static std::int64_t values_per_channel(const Lowering& l) {
    const onednn::Dims x = l.input_dims(0);
    return x[0] * x[2] * x[3];
  }

  void track_statistics(Lowering& l, const Tensor& mean, const Tensor& variance) const {
    const std::int64_t channels = l.input_dims(0)[1];
    const auto count = static_cast<float>(values_per_channel(l));
    const float unbiased = count / (count - 1);
    const float momentum = momentum_;
    l.emit("running_statistics", StepKind::normalization,
           {mean, variance, l.statistic(running_mean), l.statistic(running_var), l.statistic(num_batches_tracked)},
           [=](std::span<void* const> operands, RunState&) {
             const auto* batch_mean = static_cast<const float*>(operands[0]);
             const auto* batch_variance = static_cast<const float*>(operands[1]);
             auto* kept_mean = static_cast<float*>(operands[2]);
             auto* kept_variance = static_cast<float*>(operands[3]);
             for (std::int64_t c = 0; c < channels; ++c) {
               kept_mean[c] += momentum * (batch_mean[c] - kept_mean[c]);
               kept_variance[c] += momentum * (batch_variance[c] * unbiased - kept_variance[c]);
             }
             ++*static_cast<std::int64_t*>(operands[4]);
           });
  }

  void emit_backward(Lowering& l, const dnnl::batch_normalization_forward::primitive_desc& forward, const Tensor& src,
                     const Tensor& mean, const Tensor& variance, const Tensor& workspace) const {
    const Tensor diff_dst = l.output_gradient(forward.dst_desc());
    const auto descriptor = onednn::batch_norm_backward(diff_dst.layout, src.layout, eps_, relu_, forward);
    const Layout channel = mean.layout;
    const Tensor diff_src = l.make(descriptor.diff_src_desc());
    const Tensor diff_scale = l.make(channel);
    const Tensor diff_shift = l.make(channel);
    std::vector<std::pair<int, Tensor>> arguments{{DNNL_ARG_SRC, src},
                                                  {DNNL_ARG_DIFF_DST, diff_dst},
                                                  {DNNL_ARG_MEAN, mean},
                                                  {DNNL_ARG_VARIANCE, variance},
                                                  {DNNL_ARG_SCALE, l.parameter(weight, channel)},
                                                  {DNNL_ARG_DIFF_SRC, diff_src},
                                                  {DNNL_ARG_DIFF_SCALE, diff_scale},
                                                  {DNNL_ARG_DIFF_SHIFT, diff_shift}};
    if (onednn::batch_norm_backward_reads_shift) arguments.emplace_back(DNNL_ARG_SHIFT, l.parameter(bias, channel));
    if (workspace) arguments.emplace_back(DNNL_ARG_WORKSPACE, workspace);
    l.emit("backward", StepKind::normalization, descriptor, dnnl::batch_normalization_backward(descriptor),
           std::move(arguments));
    if (l.wants_gradient(0)) l.add_input_gradient(0, diff_src);
    if (l.wants_parameter_gradient(weight)) l.set_parameter_gradient(weight, diff_scale);
    if (l.wants_parameter_gradient(bias)) l.set_parameter_gradient(bias, diff_shift);
  }

  float eps_;
  float momentum_;
  bool relu_;
};

}  // namespace

Value batch_norm(Value x, const BatchNormOptions& options) {
  const Shape channel{x.channels()};
  const std::string& name = options.name;
  std::vector<Parameter> parameters{
      {name + ".weight", channel, Initializer::ones()},
      {name + ".bias", channel, Initializer::zeros()},
      {name + ".running_mean", channel, Initializer::zeros(), false},
      {name + ".running_var", channel, Initializer::ones(), false},
      {name + ".num_batches_tracked", {}, Initializer::zeros(), false, DataType::s64}};
  return x.graph().apply(std::make_shared<const BatchNorm>(options.eps, options.momentum, false), name, {x},
                         std::move(parameters));
}

std::shared_ptr<const Op> with_relu_after_batch_norm(const Op& op) {
  const auto* found = dynamic_cast<const BatchNorm*>(&op);
  return found != nullptr ? found->with_relu() : nullptr;
}

}  // namespace facet
