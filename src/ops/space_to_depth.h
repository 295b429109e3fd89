#pragma once

#include "kernels/pixels.h"
#include "lowering/lowering.h"
#include "ops/convolution_candidate.h"

namespace facet::ops {

/// The arguments of a convolution primitive besides types and layouts.
struct ConvolutionExtents {
  onednn::Dims src;
  onednn::Dims weights;
  onednn::Dims strides;
  onednn::Dims padding_before, padding_after;
};

/// Computes a strided convolution of the image as one over blocks of pixels: the pixels of a block become channels, and
/// the strides and the kernel over blocks become smaller. Where the original kernel has no weight, the new one has
/// zeros. Primitives are inefficient on three channels and better on twelve or so.
class SpaceToDepth {
 public:
  /// @param task a convolution of the image, with one group.
  /// @param block_height, block_width extents of a block in pixels: divisors of the stride.
  SpaceToDepth(const ConvolutionTask& task, std::int64_t block_height, std::int64_t block_width);

  /// The extents of the convolution over blocks; its output is the task's.
  ConvolutionExtents extents() const;

  lowering::Tensor image(lowering::Lowering& lowering) const;
  /// The weights over blocks, from the task's weights, which may have a batch normalisation folded in.
  lowering::Tensor weights(lowering::Lowering& lowering, const onednn::Layout& wanted) const;
  /// The gradient of the task's weights, f32 and plain, from the gradient of the weights over blocks.
  lowering::Tensor weight_gradient(lowering::Lowering& lowering, const lowering::Tensor& gradient) const;
  /// Seconds per run of rearranging the weights and their gradient.
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

}  // namespace facet::ops
