#pragma once

#include "kernels/kernels.h"
#include "lowering/lowering.h"
#include "ops/convolution_candidate.h"

namespace facet {

/// What a convolution primitive is told besides types and orders.
struct ConvolutionExtents {
  onednn::Dims src;
  onednn::Dims weights;
  onednn::Dims strides;
  onednn::Dims padding_before, padding_after;
};

/// A strided convolution of the image as one of blocks of pixels: the block's pixels are channels, the strides over
/// blocks become smaller, and so does the kernel. Where it had no weight the other's is zero. Of three channels
/// primitives make little; of twelve or so they make more.
class SpaceToDepth {
 public:
  /// @param task of the image, in one group.
  /// @param block_height, block_width of a block in pixels: divisors of the stride.
  SpaceToDepth(const ConvolutionTask& task, std::int64_t block_height, std::int64_t block_width);

  /// Of the convolution over blocks; its output is the task's.
  ConvolutionExtents extents() const;

  lowering::Tensor image(lowering::Lowering& lowering) const;
  /// From the task's, which may have a batch normalisation folded in.
  lowering::Tensor weights(lowering::Lowering& lowering, const onednn::Layout& wanted) const;
  /// The task's, f32 and plain, from that of the convolution over blocks.
  lowering::Tensor weight_gradient(lowering::Lowering& lowering, const lowering::Tensor& gradient) const;
  /// Of what a run does to weights and their gradient.
  double seconds(double best) const;

 private:
  /// Calls visit(index, index over blocks) for each of the task's weights.
  template <class Visit>
  void for_each_weight(const Visit& visit) const;
  lowering::Kernel spread_weights() const;
  lowering::Kernel gather_gradient() const;
  onednn::Layout plain() const { return onednn::plain(task_.weights(), onednn::Type::f32); }
  onednn::Layout plain_over_blocks() const { return onednn::plain(extents().weights, onednn::Type::f32); }

  ConvolutionTask task_;
  kernels::PixelBlocks blocks_;
  std::int64_t kernel_height_, kernel_width_;  // in blocks
};

}  // namespace facet
