#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "facet/graph.h"
#include "kernels/loss.h"
#include "lowering/lowering.h"

namespace facet::ops {

/// A head's outputs for a batch and its targets.
struct LossBatch {
  std::int64_t images = 0, classes = 0;
  const float* logits = nullptr;         ///< {images, outputs}, see graph::class_count
  const std::int32_t* labels = nullptr;  ///< {images}; no_label where an image has none
  const float* values = nullptr;         ///< {images, classes}, NaN where there is none; null: none at all
};

/// The loss of a head.
class Loss : public lowering::LowerableOp, public std::enable_shared_from_this<Loss> {
 public:
  explicit Loss(std::string_view head) : head_(head) {}

  virtual LossKind loss_kind() const = 0;

  Shape infer_shape(const std::vector<Shape>& inputs) const override;
  double flops(const std::vector<Shape>& inputs, const Shape& output) const override;
  lowering::Backward lower(lowering::Lowering& lowering) const override;

  /// Returns a batch's sums without smoothing and weights, for an evaluation. A head without targets has no loss.
  /// @param labels {images}. @param values {images, classes} or empty.
  /// @throws Error naming the head when the number of values is wrong, or a value is out of range.
  kernels::LossSums evaluate(std::span<const float> logits, std::span<const std::int32_t> labels,
                             std::span<const float> values) const;

 protected:
  const std::string& head() const { return head_; }
  /// @throws Error naming the head when the number of values is wrong, a value is out of range, or `needs_targets` and
  ///   the head's targets are values and the batch has none.
  LossBatch checked_batch(const float* logits, std::int64_t images, std::int64_t outputs, const std::int32_t* labels,
                          std::span<const float> values, bool needs_targets) const;
  /// The same for a run, in training only where `training`.
  LossBatch batch_of_run(const void* logits, std::int64_t images, std::int64_t outputs, int head,
                         const lowering::RunState& state, bool training) const;
  /// @throws Error naming the head when the loss is non-finite.
  void require_finite(double loss) const;

 private:
  virtual std::int64_t min_outputs() const { return 1; }
  virtual bool has_probabilities() const { return true; }
  /// Whether backward takes the logits although the loss has probabilities.
  virtual bool keeps_logits() const { return false; }
  virtual bool needs_values() const { return true; }
  /// @throws Error naming the head when a value is out of range.
  virtual void require_values(const LossBatch& batch) const = 0;
  /// @param probabilities written if not null.
  virtual kernels::LossSums forward(const LossBatch& batch, float* probabilities,
                                    const kernels::LossRule& rule) const = 0;
  /// @param outputs the probabilities; the logits if the loss has none or keeps_logits().
  virtual void backward(const LossBatch& batch, const float* outputs, const kernels::LossSums& sums, float* gradient,
                        const kernels::LossRule& rule) const = 0;

  std::string head_;
};

/// @param allowed what the message calls the range.
/// @throws Error naming the head and the first of the batch's values that is neither NaN nor `lowest` to `highest`.
void require_range(std::string_view head, const LossBatch& batch, float lowest, float highest,
                   std::string_view allowed);

/// @throws Error naming the head unless each image has numbers of at least 0 for all classes, not all of them 0, or NaN
///   for all.
void require_distributions(std::string_view head, const LossBatch& batch);

/// Adds a loss as a node and its head to the graph of `logits`.
void add_loss(Value logits, std::string_view head, std::shared_ptr<const Loss> loss);

}  // namespace facet::ops
