#include <cstdint>
#include <memory>

#include "facet/ops.h"
#include "kernels/loss.h"
#include "ops/loss.h"

namespace facet::ops {

namespace {

class SoftmaxCrossEntropy final : public Loss {
 public:
  using Loss::Loss;
  std::string_view kind() const override { return "softmax_cross_entropy"; }
  LossKind loss_kind() const override { return LossKind::softmax_cross_entropy; }

 private:
  std::int64_t min_outputs() const override { return 2; }
  bool needs_values() const override { return false; }

  void require_values(const LossBatch& batch) const override { require_distributions(head(), batch); }

  kernels::LossSums forward(const LossBatch& b, float* probabilities, const kernels::LossRule& rule) const override {
    return b.values != nullptr
               ? kernels::softmax_cross_entropy(b.logits, b.values, b.images, b.classes, probabilities, rule)
               : kernels::softmax_cross_entropy(b.logits, b.labels, b.images, b.classes, probabilities, rule);
  }

  void backward(const LossBatch& b, const float* probabilities, const kernels::LossSums& sums, float* gradient,
                const kernels::LossRule& rule) const override {
    if (b.values != nullptr) {
      kernels::softmax_cross_entropy_backward(probabilities, b.values, b.images, b.classes, sums.weight, gradient,
                                              rule);
    } else {
      kernels::softmax_cross_entropy_backward(probabilities, b.labels, b.images, b.classes, sums.weight, gradient,
                                              rule);
    }
  }
};

}  // namespace

}  // namespace facet::ops

namespace facet {

void softmax_cross_entropy(Value logits, std::string_view head) {
  ops::add_loss(logits, head, std::make_shared<const ops::SoftmaxCrossEntropy>(head));
}

}  // namespace facet
