#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "facet/error.h"
#include "facet/ops.h"
#include "kernels/loss.h"
#include "lowering/lowering.h"
#include "ops/shape_rules.h"

namespace facet::ops {

namespace {

using lowering::Backward;
using lowering::InstructionKind;
using lowering::Lowering;
using lowering::RunState;
using lowering::Tensor;
using onednn::Layout;
using onednn::Type;

class SoftmaxCrossEntropy final : public lowering::LowerableOp {
 public:
  explicit SoftmaxCrossEntropy(std::string_view head) : head_(head) {}

  std::string_view kind() const override { return "softmax_cross_entropy"; }
  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    require_inputs(inputs, 1);
    if (inputs[0].size() != 1 || inputs[0][0] < 2) {
      throw Error(
          fmt::format("logits of shape {} found; a vector of at least 2 classes is needed", to_string(inputs[0])));
    }
    return {};
  }
  double flops(const std::vector<Shape>& inputs, const Shape&) const override {
    return 5.0 * static_cast<double>(inputs[0][0]);
  }

  Backward lower(Lowering& l) const override {
    const Layout layout = onednn::plain(l.input_dims(0), Type::f32);
    const Tensor logits = l.input(0, layout);
    const Tensor probabilities = l.make(layout);
    l.set_head_tensors(logits, probabilities);
    const std::int64_t images = l.batch();
    const std::int64_t classes = l.input_dims(0)[1];
    const int head = l.head();
    l.emit("forward", InstructionKind::loss, "softmax_cross_entropy", {logits, probabilities},
           [=, name = head_, training = l.training(), rule = l.loss_rule()](std::span<void* const> operands,
                                                                            RunState& state) {
             kernels::LossSums& sums = state.losses[head];
             sums = kernels::softmax_cross_entropy(static_cast<const float*>(operands[0]), state.labels + head * images,
                                                   images, classes, static_cast<float*>(operands[1]), rule);
             if (training && !std::isfinite(sums.loss)) {
               throw Error(fmt::format("head '{}': the loss is {}, not finite", name, sums.loss),
                           ErrorCode::non_finite);
             }
           });
    return [=](Lowering& back) {
      if (!back.wants_gradient(0)) return;
      const Tensor gradient = back.make(layout);
      back.emit("backward", InstructionKind::loss, "softmax_cross_entropy", {probabilities, gradient},
                [=, rule = back.loss_rule()](std::span<void* const> operands, RunState& state) {
                  kernels::softmax_cross_entropy_backward(
                      static_cast<const float*>(operands[0]), state.labels + head * images, images, classes,
                      state.losses[head].weight, static_cast<float*>(operands[1]), rule);
                });
      back.add_input_gradient(0, gradient);
    };
  }

 private:
  std::string head_;
};

}  // namespace

}  // namespace facet::ops

namespace facet {

void softmax_cross_entropy(Value logits, std::string_view head) {
  Graph& graph = logits.graph();
  if (graph.has_head(head)) throw Error(fmt::format("softmax_cross_entropy: head '{}' exists already", head));
  const Value loss =
      graph.apply(std::make_shared<const ops::SoftmaxCrossEntropy>(head), fmt::format("loss_{}", head), {logits});
  graph.add_head(head, logits, loss);
}

}  // namespace facet
