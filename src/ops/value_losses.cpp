#include <limits>
#include <memory>

#include "facet/ops.h"
#include "kernels/loss.h"
#include "ops/loss.h"

// The losses whose targets are one value for each output.

namespace facet::ops {

namespace {

class BinaryCrossEntropy final : public Loss {
 public:
  using Loss::Loss;
  std::string_view kind() const override { return "binary_cross_entropy"; }
  LossKind loss_kind() const override { return LossKind::binary_cross_entropy; }

 private:
  void require_values(const LossBatch& batch) const override { require_range(head(), batch, 0, 1, "0 to 1 are"); }

  kernels::LossSums forward(const LossBatch& b, float* probabilities, const kernels::LossRule&) const override {
    return kernels::binary_cross_entropy(b.logits, b.values, b.images, b.classes, probabilities);
  }

  void backward(const LossBatch& b, const float* probabilities, const kernels::LossSums& sums, float* gradient,
                const kernels::LossRule& rule) const override {
    kernels::binary_cross_entropy_backward(probabilities, b.values, b.images, b.classes, sums.weight, gradient, rule);
  }
};

class MeanSquaredError final : public Loss {
 public:
  using Loss::Loss;
  std::string_view kind() const override { return "mean_squared_error"; }
  LossKind loss_kind() const override { return LossKind::mean_squared_error; }

 private:
  bool has_probabilities() const override { return false; }

  void require_values(const LossBatch& batch) const override {
    require_range(head(), batch, std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max(),
                  "finite numbers are");
  }

  kernels::LossSums forward(const LossBatch& b, float*, const kernels::LossRule&) const override {
    return kernels::mean_squared_error(b.logits, b.values, b.images, b.classes);
  }

  void backward(const LossBatch& b, const float* outputs, const kernels::LossSums& sums, float* gradient,
                const kernels::LossRule& rule) const override {
    kernels::mean_squared_error_backward(outputs, b.values, b.images, b.classes, sums.weight, gradient, rule);
  }
};

}  // namespace

}  // namespace facet::ops

namespace facet {

void binary_cross_entropy(Value logits, std::string_view head) {
  ops::add_loss(logits, head, std::make_shared<const ops::BinaryCrossEntropy>(head));
}

void mean_squared_error(Value outputs, std::string_view head) {
  ops::add_loss(outputs, head, std::make_shared<const ops::MeanSquaredError>(head));
}

}  // namespace facet
