#include <algorithm>
#include <optional>

#include "ops/convolution_candidate.h"
#include "ops/space_to_depth.h"

namespace facet::ops {

namespace {

using lowering::Backward;
using lowering::InstructionKind;
using lowering::Lowering;
using lowering::Tensor;
using onednn::Layout;
using onednn::Tag;
using onednn::Type;

using Forward = dnnl::convolution_forward;
using BackwardData = dnnl::convolution_backward_data;
using BackwardWeights = dnnl::convolution_backward_weights;

class OneDnnConvolution final : public ConvolutionCandidate {
 public:
  /// @param blocks rearranges the image and the weights; without it they stay as they are.
  /// @throws dnnl::error when oneDNN has no convolution of this algorithm with these layouts.
  OneDnnConvolution(const ConvolutionTask& task, std::string name, dnnl::algorithm algorithm, const Layout& src,
                    const Layout& dst, const std::optional<SpaceToDepth>& blocks = {})
      : task_(task), name_(std::move(name)), blocks_(blocks) {
    const auto& o = task.options;
    const ConvolutionExtents e =
        blocks ? blocks->extents()
               : ConvolutionExtents{
                     task.src, task.weights(), {o.stride, o.stride}, {o.padding, o.padding}, {o.padding, o.padding}};
    const Layout weights = onednn::any(e.weights, task.type);
    const Layout bias = onednn::plain({o.channels}, Type::f32);
    const auto attr = onednn::attributes();
    auto forward_attr = onednn::attributes();
    if (!task.epilogue.residual) {
      dnnl::post_ops operations;
      append(task.epilogue.activation, operations);
      forward_attr.set_post_ops(operations);
    }
    const auto kind = task.training ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
    forward_ = task.adds_bias() ? onednn::describe<Forward>(forward_attr, kind, algorithm, src, weights, bias, dst,
                                                            e.strides, e.padding_before, e.padding_after)
                                : onednn::describe<Forward>(forward_attr, kind, algorithm, src, weights, dst, e.strides,
                                                            e.padding_before, e.padding_after);
    const Layout x = forward_.src_desc();
    const Layout y = forward_.dst_desc();
    if (task.src_gradient) {
      backward_data_ = onednn::describe_backward<BackwardData>(attr, forward_, algorithm, x, weights, y, e.strides,
                                                               e.padding_before, e.padding_after);
    }
    if (task.weight_gradient || task.bias_gradient) {
      const Layout gradient = onednn::any(e.weights, Type::f32);
      backward_weights_ =
          o.bias ? onednn::describe_backward<BackwardWeights>(attr, forward_, algorithm, x, gradient, bias, y,
                                                              e.strides, e.padding_before, e.padding_after)
                 : onednn::describe_backward<BackwardWeights>(attr, forward_, algorithm, x, gradient, y, e.strides,
                                                              e.padding_before, e.padding_after);
    }
  }

  std::string name() const override { return name_; }
  Layout src() const override { return blocks_ ? onednn::channels_last(task_.src, task_.type) : forward_.src_desc(); }
  Layout dst() const override { return forward_.dst_desc(); }

  /// Whether `other` is the same primitive under another name.
  bool same(const OneDnnConvolution& other) const {
    return forward_.src_desc() == other.forward_.src_desc() && dst() == other.dst() &&
           std::string_view(forward_.impl_info_str()) == other.forward_.impl_info_str();
  }
  /// Whether a primitive is oneDNN's reference implementation or a matrix product of the unfolded image (im2col).
  bool is_fallback() const {
    const auto slow = [](std::string_view name) {
      return name.find("ref") != std::string_view::npos || name.find("gemm:") == 0 ||
             name.find(":gemm") != std::string_view::npos;
    };
    return slow(forward_.impl_info_str()) || (backward_data_ && slow(backward_data_->impl_info_str())) ||
           (backward_weights_ && slow(backward_weights_->impl_info_str()));
  }
  /// Whether the weights' gradient has a layout of the primitive's own, which the update can't read.
  bool gradient_is_opaque() const {
    return backward_weights_ && onednn::is_opaque(backward_weights_->diff_weights_desc());
  }

  Backward lower(Lowering& l) const override {
    const Tensor x = blocks_ ? blocks_->image(l) : l.input(0, src());
    const Layout wanted = forward_.weights_desc();
    const Tensor y = task_.epilogue.residual ? l.make(dst()) : l.make_output(dst());
    std::vector<std::pair<int, Tensor>> arguments{
        {DNNL_ARG_SRC, x},
        {DNNL_ARG_WEIGHTS, blocks_ ? blocks_->weights(l, wanted) : convolution_weights(l, task_, wanted)},
        {DNNL_ARG_DST, y}};
    if (task_.adds_bias()) arguments.emplace_back(DNNL_ARG_BIAS, convolution_bias(l, task_));
    l.emit("forward", InstructionKind::convolution_forward, forward_, Forward(forward_), std::move(arguments));
    if (task_.epilogue.residual) add_residual(l, y);
    return [self = *this, x](Lowering& back) { self.lower_backward(back, x); };
  }

  double seconds(double best) const override {
    double total = onednn::measure(Forward(forward_),
                                   {{DNNL_ARG_SRC, forward_.src_desc()},
                                    {DNNL_ARG_WEIGHTS, forward_.weights_desc()},
                                    {DNNL_ARG_BIAS, forward_.bias_desc()},
                                    {DNNL_ARG_DST, dst()},
                                    scratch(forward_)},
                                   best);
    if (task_.epilogue.residual && total < 2 * best) {
      total +=
          onednn::measure(dnnl::binary(add_descriptor()),
                          {{DNNL_ARG_SRC_0, dst()}, {DNNL_ARG_SRC_1, dst()}, {DNNL_ARG_DST, dst()}}, best - total / 2);
    }
    if (backward_data_ && total < 2 * best) {
      total += onednn::measure(BackwardData(*backward_data_),
                               {{DNNL_ARG_DIFF_DST, dst()},
                                {DNNL_ARG_WEIGHTS, backward_data_->weights_desc()},
                                {DNNL_ARG_DIFF_SRC, src()},
                                scratch(*backward_data_)},
                               best - total / 2);
    }
    if (backward_weights_ && total < 2 * best) {
      total += onednn::measure(BackwardWeights(*backward_weights_),
                               {{DNNL_ARG_SRC, forward_.src_desc()},
                                {DNNL_ARG_DIFF_DST, dst()},
                                {DNNL_ARG_DIFF_WEIGHTS, backward_weights_->diff_weights_desc()},
                                {DNNL_ARG_DIFF_BIAS, backward_weights_->diff_bias_desc()},
                                scratch(*backward_weights_)},
                               best - total / 2);
    }
    if (blocks_ && total < 2 * best) total += blocks_->seconds(best - total / 2);
    return total;
  }

 private:
  static onednn::Argument scratch(const dnnl::primitive_desc_base& descriptor) {
    return {DNNL_ARG_SCRATCHPAD, descriptor.scratchpad_desc()};
  }

  void add_residual(Lowering& l, const Tensor& y) const {
    const auto descriptor = add_descriptor();
    l.emit("add", InstructionKind::elementwise, descriptor, dnnl::binary(descriptor),
           {{DNNL_ARG_SRC_0, y}, {DNNL_ARG_SRC_1, l.input(1, dst())}, {DNNL_ARG_DST, l.make_output(dst())}});
  }

  dnnl::binary::primitive_desc add_descriptor() const {
    auto attr = onednn::attributes();
    dnnl::post_ops operations;
    append(task_.epilogue.activation, operations);
    attr.set_post_ops(operations);
    return onednn::describe<dnnl::binary>(attr, dnnl::algorithm::binary_add, dst(), dst(), dst());
  }

  void lower_backward(Lowering& l, const Tensor& x) const {
    const Tensor diff_dst = l.output_gradient(dst());
    // The gradient of the weights comes first, so that the saved input can be freed before the input's gradient is
    // allocated.
    Tensor diff_weights;
    Tensor diff_bias;
    if (backward_weights_) {
      diff_weights = l.make(backward_weights_->diff_weights_desc());
      std::vector<std::pair<int, Tensor>> arguments{
          {DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_DST, diff_dst}, {DNNL_ARG_DIFF_WEIGHTS, diff_weights}};
      if (task_.options.bias) {
        diff_bias = l.make(backward_weights_->diff_bias_desc());
        arguments.emplace_back(DNNL_ARG_DIFF_BIAS, diff_bias);
      }
      l.emit("backward_weights", InstructionKind::convolution_backward_weights, *backward_weights_,
             BackwardWeights(*backward_weights_), std::move(arguments));
    }
    if (backward_data_) {
      const Tensor diff_src = l.make(backward_data_->diff_src_desc());
      l.emit("backward_data", InstructionKind::convolution_backward_data, *backward_data_,
             BackwardData(*backward_data_),
             {{DNNL_ARG_DIFF_DST, diff_dst},
              {DNNL_ARG_WEIGHTS, l.parameter(0, backward_data_->weights_desc())},
              {DNNL_ARG_DIFF_SRC, diff_src}});
      l.add_input_gradient(0, diff_src);
    }
    if (task_.weight_gradient) {
      l.set_parameter_gradient(0, blocks_ ? blocks_->weight_gradient(l, diff_weights) : diff_weights);
    }
    if (task_.bias_gradient) l.set_parameter_gradient(1, diff_bias);
  }

  ConvolutionTask task_;
  std::string name_;
  std::optional<SpaceToDepth> blocks_;
  Forward::primitive_desc forward_;
  std::optional<BackwardData::primitive_desc> backward_data_;
  std::optional<BackwardWeights::primitive_desc> backward_weights_;
};

std::shared_ptr<const OneDnnConvolution> describe(const ConvolutionTask& task, std::string name,
                                                  dnnl::algorithm algorithm, const Layout& src, const Layout& dst,
                                                  const std::optional<SpaceToDepth>& blocks) {
  try {
    auto found = std::make_shared<const OneDnnConvolution>(task, std::move(name), algorithm, src, dst, blocks);
    return found->gradient_is_opaque() ? nullptr : found;
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

}  // namespace

ConvolutionCandidates onednn_convolutions(const ConvolutionTask& task) {
  const Type type = task.type;
  const Layout any_x = onednn::any(task.src, type);
  const Layout any_y = onednn::any(task.dst, type);
  const Tag blocked = onednn::effective_cpu_isa().starts_with("avx512") ? Tag::nChw16c : Tag::nChw8c;
  // With few channels, a block would be mostly padding: the primitive chooses the layout of the image.
  const bool narrow = task.src[1] < 8;

  std::vector<std::shared_ptr<const OneDnnConvolution>> found;
  const auto consider = [&](std::string name, dnnl::algorithm algorithm, const Layout& src, const Layout& dst,
                            const std::optional<SpaceToDepth>& blocks = {}) {
    auto candidate = describe(task, std::move(name), algorithm, src, dst, blocks);
    if (candidate == nullptr) return;
    for (const auto& other : found) {
      if (candidate->same(*other)) return;
    }
    found.push_back(std::move(candidate));
  };
  consider("direct channels_last", dnnl::algorithm::convolution_direct,
           narrow ? any_x : onednn::channels_last(task.src, type), onednn::channels_last(task.dst, type));
  consider("direct", dnnl::algorithm::convolution_direct, any_x, any_y);
  consider("direct blocked", dnnl::algorithm::convolution_direct,
           narrow ? any_x : onednn::tagged(task.src, type, blocked), onednn::tagged(task.dst, type, blocked));
  const auto& o = task.options;
  if (onednn::has_winograd() && o.kernel == 3 && o.stride == 1 && o.groups == 1 && type == Type::f32) {
    consider("winograd onednn", onednn::winograd(), any_x, any_y);
  }
  const auto consider_blocks = [&](std::string name, std::int64_t height, std::int64_t width) {
    const SpaceToDepth blocks(task, height, width);
    consider(std::move(name), dnnl::algorithm::convolution_direct, onednn::channels_last(blocks.extents().src, type),
             onednn::channels_last(task.dst, type), blocks);
  };
  // If the padding were as wide as the kernel, some windows would contain nothing of the image.
  if (task.of_image && o.groups == 1 && o.stride > 1 && o.padding < o.kernel) {
    consider_blocks("space to depth", o.stride, o.stride);
    consider_blocks("width to depth", 1, o.stride);
  }
  const auto is_fallback = [](const auto& candidate) { return candidate->is_fallback(); };
  if (!std::all_of(found.begin(), found.end(), is_fallback)) std::erase_if(found, is_fallback);
  return {found.begin(), found.end()};
}

}  // namespace facet::ops
