#include <memory>

#include "facet/ops.h"
#include "kernels/loss.h"
#include "ops/loss.h"

namespace facet::ops {

namespace {

class CoralLoss final : public Loss {
 public:
  using Loss::Loss;
  std::string_view kind() const override { return "coral_loss"; }
  LossKind loss_kind() const override { return LossKind::coral; }

 private:
  bool keeps_logits() const override { return true; }
  bool needs_values() const override { return false; }
  void require_values(const LossBatch& batch) const override { require_distributions(head(), batch); }

  kernels::LossSums forward(const LossBatch& b, float* probabilities, const kernels::LossRule& rule) const override {
    return b.values != nullptr ? kernels::coral_loss(b.logits, b.values, b.images, b.classes, probabilities, rule)
                               : kernels::coral_loss(b.logits, b.labels, b.images, b.classes, probabilities, rule);
  }

  void backward(const LossBatch& b, const float* logits, const kernels::LossSums& sums, float* gradient,
                const kernels::LossRule& rule) const override {
    if (b.values != nullptr) {
      kernels::coral_loss_backward(logits, b.values, b.images, b.classes, sums.weight, gradient, rule);
    } else {
      kernels::coral_loss_backward(logits, b.labels, b.images, b.classes, sums.weight, gradient, rule);
    }
  }
};

}  // namespace

}  // namespace facet::ops

namespace facet {

void coral_loss(Value logits, std::string_view head) {
  ops::add_loss(logits, head, std::make_shared<const ops::CoralLoss>(head));
}

}  // namespace facet
