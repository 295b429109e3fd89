#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "graph/op.h"
#include "kernels/activation.h"
#include "lowering/lowering.h"
#include "onednn/onednn.h"

namespace facet::ops {

/// The activation that `op` computes; none if it is another op.
kernels::Activation activation_of(const graph::Op& op);
/// "", "relu" or "relu6".
std::string_view name_of(kernels::Activation activation);
/// Writes the activation of `x`; returns `x` itself if there is none.
graph::Operand write(kernels::Activation activation, graph::OperatorWriter& writer, graph::Operand x);
/// Appends the activation to the post-ops of a primitive.
void append(kernels::Activation activation, dnnl::post_ops& operations);

/// The window of a pooling, and how it slides.
struct PoolWindow {
  std::int64_t height, width, stride, padding;
};

/// The window of `op` if it is a max pooling.
std::optional<PoolWindow> max_pool_of(const graph::Op& op);
/// What an op computes after its main operation in the same pass over memory, in the order of the members.
struct Epilogue {
  /// A convolution's: scale and shift by a batch normalisation that uses running statistics; its eps.
  std::optional<float> batch_norm_eps = {};
  bool residual = false;  ///< input 1 is added
  kernels::Activation activation = kernels::Activation::none;

  bool has_activation() const { return activation != kernels::Activation::none; }
  bool empty() const { return !batch_norm_eps && !residual && !has_activation(); }
};

/// Writes the epilogue's addition and activation of `x`.
graph::Operand write(const Epilogue& epilogue, graph::OperatorWriter& writer, graph::Operand x);

/// An op that can compute more than its main operation.
class FusableOp : public lowering::LowerableOp {
 public:
  explicit FusableOp(const Epilogue& epilogue) : epilogue_(epilogue) {}
  /// The same op with `more` after what it computes now; null when it can't compute that.
  virtual std::shared_ptr<const graph::Op> with(const Epilogue& more) const = 0;

 protected:
  Epilogue epilogue_;
};

/// The same op with `more` after what it computes now; null when it can't compute that.
std::shared_ptr<const graph::Op> fuse(const graph::Op& op, const Epilogue& more);

/// A convolution and the batch normalisation after it, with that one's epilogue, as one op for inference and frozen
/// nodes; null when the ops are of other kinds or the convolution already has an epilogue.
std::shared_ptr<const graph::Op> fold_batch_norm(const graph::Op& convolution, const graph::Op& batch_norm);

/// A batch normalisation by the batch's statistics, and the max pooling of its output, as one op of a training program;
/// null when `op` is another one, or can't take this window.
std::shared_ptr<const graph::Op> fuse_max_pool(const graph::Op& op, const PoolWindow& window);

bool is_add(const graph::Op& op);
bool is_concat(const graph::Op& op);

/// A concat whose output lies in wider rows, so that concats which each begin with the one before share one tensor.
struct ConcatStorage {
  bool continues_input = false;  ///< the output lies in the tensor that begins with input 0
  std::int64_t channels = 0;     ///< of the tensor in which the output lies; 0: the output's own
};
std::shared_ptr<const graph::Op> with_storage(const graph::Op& concat, const ConcatStorage& storage);

}  // namespace facet::ops
