#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "facet/error.h"
#include "facet/ops.h"
#include "kernels/loss.h"
#include "ops/loss.h"

namespace facet::ops {

namespace {

using lowering::Backward;
using lowering::InstructionKind;
using lowering::Lowering;
using lowering::RunState;
using lowering::Tensor;
using onednn::Layout;

/// The number of images that have a label or a value.
std::int64_t count_labelled(const LossBatch& b) {
  std::int64_t count = 0;
  for (std::int64_t n = 0; n < b.images; ++n) {
    bool labelled = b.labels[n] >= 0;
    for (std::int64_t c = 0; c < b.classes && b.values != nullptr && !labelled; ++c) {
      labelled = !std::isnan(b.values[n * b.classes + c]);
    }
    count += labelled ? 1 : 0;
  }
  return count;
}

/// A loss of the caller's own. It is computed together with its gradient, which is that of the mean over this process's
/// images until backward weights it.
class CustomLoss final : public Loss {
 public:
  CustomLoss(std::string_view head, LossFunction function) : Loss(head), function_(std::move(function)) {}
  std::string_view kind() const override { return "custom_loss"; }
  LossKind loss_kind() const override { return LossKind::custom; }

  Backward lower(Lowering& l) const override {
    const Layout layout = onednn::plain(l.input_dims(0), onednn::Type::f32);
    const Tensor logits = l.input(0, layout);
    l.set_head_tensors(logits, logits);
    const bool training = l.training();
    const std::int64_t images = l.batch(), outputs = l.input_dims(0)[1];
    const int head = l.head();
    const Tensor gradient = training && l.wants_gradient(0) ? l.make(layout) : Tensor();
    std::vector<Tensor> operands{logits};
    if (gradient) operands.push_back(gradient);
    const auto self = std::static_pointer_cast<const CustomLoss>(shared_from_this());
    l.emit("forward", InstructionKind::loss, kind(), std::move(operands),
           [=](std::span<void* const> addresses, RunState& state) {
             kernels::LossSums& sums = state.losses[static_cast<std::size_t>(head)];
             sums = {};
             if (!training) return;  // an evaluation calls the function afterwards
             const LossBatch batch = self->batch_of_run(addresses[0], images, outputs, head, state, training);
             float* const written = addresses.size() > 1 ? static_cast<float*>(addresses[1]) : nullptr;
             sums = self->call(batch, written);
             self->require_finite(sums.loss);
           });
    return [=](Lowering& back) {
      if (!gradient) return;
      back.emit("backward", InstructionKind::loss, self->kind(), {gradient},
                [=, weight = back.loss_rule().weight](std::span<void* const> addresses, RunState& state) {
                  const LossBatch batch = self->batch_of_run(nullptr, images, outputs, head, state, training);
                  // The mean over the images of all processes weights each process's mean by its labelled images.
                  const double all = state.losses[static_cast<std::size_t>(head)].weight;
                  const double share = all > 0 ? static_cast<double>(count_labelled(batch)) / all : 0;
                  auto* const values = static_cast<float*>(addresses[0]);
                  for (std::int64_t i = 0; i < images * outputs; ++i) {
                    values[i] = static_cast<float>(values[i] * (weight * share));
                  }
                });
      back.add_input_gradient(0, gradient);
    };
  }

 private:
  bool has_probabilities() const override { return false; }
  bool needs_values() const override { return false; }
  void require_values(const LossBatch&) const override {}

  kernels::LossSums forward(const LossBatch& batch, float*, const kernels::LossRule&) const override {
    return call(batch, nullptr);
  }

  void backward(const LossBatch&, const float*, const kernels::LossSums&, float*,
                const kernels::LossRule&) const override {}

  /// @param gradient null: it isn't wanted.
  kernels::LossSums call(const LossBatch& b, float* gradient) const {
    const auto count = static_cast<std::size_t>(b.images * b.classes);
    if (gradient != nullptr) std::fill_n(gradient, count, 0.0F);
    const std::int64_t labelled = count_labelled(b);
    if (labelled == 0) return {};
    const LossInput input{.images = b.images,
                          .outputs = b.classes,
                          .logits = {b.logits, count},
                          .labels = {b.labels, static_cast<std::size_t>(b.images)},
                          .targets = {b.values, b.values != nullptr ? count : 0}};
    const double mean = function_(input, {gradient, gradient != nullptr ? count : 0});
    const auto weight = static_cast<double>(labelled);
    return {.loss = mean * weight, .labelled = labelled, .weight = weight};
  }

  LossFunction function_;
};

}  // namespace

}  // namespace facet::ops

namespace facet {

void custom_loss(Value logits, std::string_view head, LossFunction function) {
  if (!function) throw Error(fmt::format("custom_loss: head '{}' has no function", head));
  ops::add_loss(logits, head, std::make_shared<const ops::CustomLoss>(head, std::move(function)));
}

}  // namespace facet
