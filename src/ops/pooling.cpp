#include <fmt/format.h>

#include <optional>

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
using onednn::Dims;
using onednn::PoolingBackward;
using onednn::PoolingForward;

/// Pooling by one of oneDNN's algorithms, which max, average and global average pooling share.
class Pool final : public lowering::LowerableOp {
 public:
  /// @param window none: the whole image, whatever its size.
  Pool(std::string_view kind, dnnl::algorithm algorithm, const std::optional<PoolWindow>& window)
      : kind_(kind), algorithm_(algorithm), window_(window) {}

  std::string_view kind() const override { return kind_; }

  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    require_inputs(inputs, 1);
    const Shape& x = require_image(inputs[0]);
    const PoolWindow w = window(x[1], x[2]);
    if (w.padding > std::min(w.height, w.width) / 2) {
      throw Error(fmt::format("padding {} found; at most half the kernel of {} is allowed", w.padding, w.height));
    }
    return {x[0], window_extent(x[1], w.height, w.stride, w.padding),
            window_extent(x[2], w.width, w.stride, w.padding)};
  }
  double flops(const std::vector<Shape>& inputs, const Shape& output) const override {
    const PoolWindow w = window(inputs[0][1], inputs[0][2]);
    return static_cast<double>(element_count(output)) * static_cast<double>(w.height) * static_cast<double>(w.width);
  }
  graph::Operand write_operators(graph::OperatorWriter& writer) const override {
    const PoolWindow w = window(writer.input_shape(0)[1], writer.input_shape(0)[2]);
    std::vector<graph::OperatorAttribute> attributes{{"kernel_shape", Shape{w.height, w.width}},
                                                     {"strides", Shape{w.stride, w.stride}},
                                                     {"pads", Shape(4, w.padding)}};
    if (algorithm_ == dnnl::algorithm::pooling_max) return writer.write("MaxPool", {writer.input(0)}, attributes);
    const bool counts_padding = algorithm_ == dnnl::algorithm::pooling_avg_include_padding;
    attributes.emplace_back("count_include_pad", counts_padding ? 1 : 0);
    return writer.write("AveragePool", {writer.input(0)}, attributes);
  }

  /// The window if this is a max pooling.
  std::optional<PoolWindow> max_window() const {
    return algorithm_ == dnnl::algorithm::pooling_max ? window_ : std::nullopt;
  }

  Backward lower(Lowering& l) const override {
    const Tensor src = l.input(0);
    const Dims x = l.input_dims(0);
    const PoolWindow w = window(x[2], x[3]);
    const Dims strides{w.stride, w.stride};
    const Dims kernel{w.height, w.width};
    const Dims dilation{0, 0};
    const Dims before{w.padding, w.padding};
    const Dims y = l.output_dims();
    // The output extent is rounded down: what no window reaches at the end is subtracted from the padding there.
    const Dims after{(y[2] - 1) * w.stride + w.height - x[2] - w.padding,
                     (y[3] - 1) * w.stride + w.width - x[3] - w.padding};
    const auto kind = l.training() ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
    const auto forward =
        onednn::describe<PoolingForward>(onednn::attributes(), kind, algorithm_, src.layout,
                                         onednn::with_dims(src.layout, y), strides, kernel, dilation, before, after);
    const Tensor dst = l.make_output(forward.dst_desc());
    std::vector<std::pair<int, Tensor>> arguments{{DNNL_ARG_SRC, src}, {DNNL_ARG_DST, dst}};
    Tensor workspace;
    if (forward.workspace_desc().get_size() > 0) {
      workspace = l.make(forward.workspace_desc());
      arguments.emplace_back(DNNL_ARG_WORKSPACE, workspace);
    }
    l.emit("forward", InstructionKind::pooling, forward, PoolingForward(forward), std::move(arguments));
    l.mark_recomputable();
    return [=, this](Lowering& back) {
      if (!back.wants_gradient(0)) return;
      const auto backward = onednn::describe_backward<PoolingBackward>(
          onednn::attributes(), forward, algorithm_, src.layout, dst.layout, strides, kernel, dilation, before, after);
      const Tensor diff_src = back.make(backward.diff_src_desc());
      std::vector<std::pair<int, Tensor>> back_arguments{{DNNL_ARG_DIFF_DST, back.output_gradient(dst.layout)},
                                                         {DNNL_ARG_DIFF_SRC, diff_src}};
      if (workspace) back_arguments.emplace_back(DNNL_ARG_WORKSPACE, workspace);
      back.emit("backward", InstructionKind::pooling, backward, PoolingBackward(backward), std::move(back_arguments));
      back.add_input_gradient(0, diff_src);
    };
  }

 private:
  PoolWindow window(std::int64_t height, std::int64_t width) const {
    return window_.value_or(PoolWindow{height, width, 1, 0});
  }

  std::string_view kind_;
  dnnl::algorithm algorithm_;
  std::optional<PoolWindow> window_;
};

PoolWindow window_of(const PoolOptions& o) {
  return {o.kernel, o.kernel, o.stride == 0 ? o.kernel : o.stride, o.padding};
}

Value apply_pool(Value x, std::string_view kind, dnnl::algorithm algorithm, const std::optional<PoolWindow>& window) {
  return graph::apply(x.graph(), std::make_shared<const Pool>(kind, algorithm, window), kind, {x});
}

}  // namespace

std::optional<PoolWindow> max_pool_of(const graph::Op& op) {
  const auto* pool = dynamic_cast<const Pool*>(&op);
  return pool != nullptr ? pool->max_window() : std::nullopt;
}

}  // namespace facet::ops

namespace facet {

Value max_pool(Value x, const PoolOptions& options) {
  return ops::apply_pool(x, "max_pool", dnnl::algorithm::pooling_max, ops::window_of(options));
}

Value average_pool(Value x, const PoolOptions& options) {
  const auto algorithm = options.count_include_pad ? dnnl::algorithm::pooling_avg_include_padding
                                                   : dnnl::algorithm::pooling_avg_exclude_padding;
  return ops::apply_pool(x, "average_pool", algorithm, ops::window_of(options));
}

Value global_average_pool(Value x) {
  return ops::apply_pool(x, "global_average_pool", dnnl::algorithm::pooling_avg_exclude_padding, std::nullopt);
}

}  // namespace facet
