#include "ops/space_to_depth.h"

#include <algorithm>

namespace facet::ops {

namespace {

using lowering::InstructionKind;
using lowering::Kernel;
using lowering::Lowering;
using lowering::RunState;
using lowering::Tensor;
using onednn::Layout;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

SpaceToDepth::SpaceToDepth(const ConvolutionTask& task, std::int64_t block_height, std::int64_t block_width)
    : task_(task) {
  const auto& o = task.options;
  kernel_height_ = divide_up(o.kernel, block_height);
  kernel_width_ = divide_up(o.kernel, block_width);
  // Blocks begin where windows begin: the part of the padding that fills no whole block becomes zeros in the first
  // block.
  const auto blocks = [&](std::int64_t extent, std::int64_t outputs, std::int64_t block, std::int64_t kernel) {
    const std::int64_t read = (outputs - 1) * (o.stride / block) + kernel - o.padding / block;
    return std::min(divide_up(extent + o.padding % block, block), read);
  };
  blocks_ = {.block_height = block_height,
             .block_width = block_width,
             .top = o.padding % block_height,
             .left = o.padding % block_width,
             .rows = blocks(task.src[2], task.dst[2], block_height, kernel_height_),
             .columns = blocks(task.src[3], task.dst[3], block_width, kernel_width_)};
}

ConvolutionExtents SpaceToDepth::extents() const {
  const auto& b = blocks_;
  const auto& o = task_.options;
  const std::int64_t channels = task_.src[1] * b.block_height * b.block_width;
  ConvolutionExtents e{.src = {task_.src[0], channels, b.rows, b.columns},
                       .weights = {o.channels, channels, kernel_height_, kernel_width_},
                       .strides = {o.stride / b.block_height, o.stride / b.block_width},
                       .padding_before = {o.padding / b.block_height, o.padding / b.block_width},
                       .padding_after = {}};
  for (int i = 0; i < 2; ++i) {
    e.padding_after.push_back((task_.dst[2 + i] - 1) * e.strides[i] + e.weights[2 + i] - e.padding_before[i] -
                              e.src[2 + i]);
  }
  return e;
}

Tensor SpaceToDepth::image(Lowering& l) const {
  const onednn::Type type = l.activation_type();
  const Tensor image = l.make(onednn::channels_last(extents().src, type));
  l.emit("input", InstructionKind::input, "pixels_to_blocks", {image},
         [blocks = blocks_, src = task_.src, bf16 = type == onednn::Type::bf16](std::span<void* const> operands,
                                                                                RunState& state) {
           kernels::pixels_to_blocks(state.pixels, src[0], src[2], src[3], state.mean, state.std, blocks,
                                     bf16 ? nullptr : static_cast<float*>(operands[0]),
                                     bf16 ? static_cast<std::uint16_t*>(operands[0]) : nullptr);
         });
  l.mark_recomputable();
  return image;
}

Tensor SpaceToDepth::weights(Lowering& l, const Layout& wanted) const {
  const Tensor spread =
      l.make_from_parameters("spread_weights", InstructionKind::convolution_forward, "space_to_depth",
                             {convolution_weights(l, task_, plain())}, plain_over_blocks(), spread_weights());
  return l.reorder_from_parameters(spread, wanted);
}

Tensor SpaceToDepth::weight_gradient(Lowering& l, const Tensor& gradient) const {
  Tensor over_blocks = gradient;
  if (gradient.layout != plain_over_blocks()) {
    over_blocks = l.make(plain_over_blocks());
    const auto reorder = onednn::reorder(gradient.layout, over_blocks.layout);
    l.emit("gradient_reorder", InstructionKind::reorder, reorder, dnnl::reorder(reorder),
           {{DNNL_ARG_FROM, gradient}, {DNNL_ARG_TO, over_blocks}});
  }
  const Tensor gathered = l.make(plain());
  l.emit("gather_gradient", InstructionKind::reorder, "space_to_depth", {over_blocks, gathered}, gather_gradient());
  return gathered;
}

double SpaceToDepth::seconds(double best) const {
  double total = lowering::measure(spread_weights(), {plain(), plain_over_blocks()}, best);
  if (task_.weight_gradient) total += lowering::measure(gather_gradient(), {plain_over_blocks(), plain()}, best);
  return total;
}

template <class Visit>
void SpaceToDepth::for_each_weight(const Visit& visit) const {
  const auto& b = blocks_;
  const std::int64_t kernel = task_.options.kernel;
  const std::int64_t channels = task_.src[1];
  std::int64_t index = 0;
  for (std::int64_t out = 0; out < task_.options.channels; ++out) {
    for (std::int64_t in = 0; in < channels; ++in) {
      for (std::int64_t y = 0; y < kernel; ++y) {
        for (std::int64_t x = 0; x < kernel; ++x, ++index) {
          const std::int64_t pixel = y % b.block_height * b.block_width + x % b.block_width;
          const std::int64_t channel = (out * b.block_height * b.block_width + pixel) * channels + in;
          visit(index, (channel * kernel_height_ + y / b.block_height) * kernel_width_ + x / b.block_width);
        }
      }
    }
  }
}

Kernel SpaceToDepth::spread_weights() const {
  return [self = *this, size = plain_over_blocks().get_size()](std::span<void* const> at, RunState&) {
    const auto* weights = static_cast<const float*>(at[0]);
    auto* over_blocks = static_cast<float*>(at[1]);
    std::fill_n(over_blocks, size / sizeof(float), 0.0F);
    self.for_each_weight([&](std::int64_t i, std::int64_t spread) { over_blocks[spread] = weights[i]; });
  };
}

Kernel SpaceToDepth::gather_gradient() const {
  return [self = *this](std::span<void* const> at, RunState&) {
    const auto* over_blocks = static_cast<const float*>(at[0]);
    auto* gradient = static_cast<float*>(at[1]);
    self.for_each_weight([&](std::int64_t i, std::int64_t spread) { gradient[i] = over_blocks[spread]; });
  };
}

}  // namespace facet::ops
