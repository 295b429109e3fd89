#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>

#include "facet/error.h"
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

  void require_values(const LossBatch& batch) const override {
    require_range(head(), batch, 0, std::numeric_limits<float>::max(), "finite numbers of at least 0 are");
    for (std::int64_t n = 0; n < batch.images; ++n) {
      const float* const distribution = batch.values + n * batch.outputs;
      bool all_zero = true;
      for (std::int64_t c = 0; c < batch.outputs; ++c) {
        if (std::isnan(distribution[c]) != std::isnan(distribution[0])) {
          throw Error(fmt::format("head '{}': a distribution with numbers and NaN found; an image has one or the other",
                                  head()),
                      ErrorCode::invalid_data);
        }
        all_zero = all_zero && distribution[c] == 0;
      }
      if (all_zero) {
        throw Error(fmt::format("head '{}': a distribution of zeros alone found; at least one number above 0 is "
                                "needed, or NaN for all classes where an image has no target",
                                head()),
                    ErrorCode::invalid_data);
      }
    }
  }

  kernels::LossSums forward(const LossBatch& b, float* probabilities, const kernels::LossRule& rule) const override {
    return b.values != nullptr
               ? kernels::softmax_cross_entropy(b.logits, b.values, b.images, b.outputs, probabilities, rule)
               : kernels::softmax_cross_entropy(b.logits, b.labels, b.images, b.outputs, probabilities, rule);
  }

  void backward(const LossBatch& b, const float* probabilities, const kernels::LossSums& sums, float* gradient,
                const kernels::LossRule& rule) const override {
    if (b.values != nullptr) {
      kernels::softmax_cross_entropy_backward(probabilities, b.values, b.images, b.outputs, sums.weight, gradient,
                                              rule);
    } else {
      kernels::softmax_cross_entropy_backward(probabilities, b.labels, b.images, b.outputs, sums.weight, gradient,
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
