#include "kernels/dropout.h"

#include <fmt/format.h>

#include <memory>

#include "facet/error.h"
#include "facet/ops.h"
#include "lowering/lowering.h"
#include "ops/shape_rules.h"

namespace facet::ops {

namespace {

using lowering::Backward;
using lowering::InstructionKind;
using lowering::Lowering;
using lowering::RunState;
using lowering::Tensor;
using onednn::Type;

class Dropout final : public lowering::LowerableOp {
 public:
  using Rule = kernels::DropoutRule (*)(float rate);
  Dropout(std::string_view kind, float rate, Rule rule) : kind_(kind), rate_(rate), rule_(rule) {}

  std::string_view kind() const override { return kind_; }
  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    require_inputs(inputs, 1);
    if (!(rate_ >= 0 && rate_ < 1))
      throw Error(fmt::format("rate {} found; a number of at least 0 and below 1 is needed", rate_));
    return inputs[0];
  }
  double flops(const std::vector<Shape>&, const Shape& output) const override {
    return static_cast<double>(element_count(output));
  }
  graph::Operand write_operators(graph::OperatorWriter& writer) const override { return writer.input(0); }

  Backward lower(Lowering& l) const override {
    if (!l.training() || rate_ == 0) {
      l.set_output(l.input(0));
      return [](Lowering& back) {
        if (back.wants_gradient(0)) back.add_input_gradient(0, back.output_gradient());
      };
    }
    // The mask follows the elements' logical order, so they are reordered to the plain layout.
    const onednn::Layout layout = onednn::plain(l.output_dims(), l.activation_type());
    const Tensor src = l.input(0, layout);
    const Tensor dst = l.make_output(layout);
    l.emit("forward", InstructionKind::elementwise, "dropout", {src, dst},
           kernel(l, [](auto... arguments) { kernels::dropout_forward(arguments...); }));
    l.mark_recomputable();
    return [=, this](Lowering& back) {
      if (!back.wants_gradient(0)) return;
      const Tensor diff_dst = back.output_gradient(layout);
      const Tensor diff_src = back.make(layout);
      back.emit("backward", InstructionKind::elementwise, "dropout", {diff_dst, diff_src},
                kernel(back, [](auto... arguments) { kernels::dropout_backward(arguments...); }));
      back.add_input_gradient(0, diff_src);
    };
  }

 private:
  /// Runs `pass` (forward or backward) from operand 0 to operand 1 in the activations' type.
  template <class Pass>
  lowering::Kernel kernel(const Lowering& l, Pass pass) const {
    std::int64_t count = 1;
    for (const std::int64_t extent : l.output_dims()) count *= extent;
    const bool bf16 = l.activation_type() == Type::bf16;
    return [rule = rule_(rate_), seed = l.seed(), op = static_cast<std::uint32_t>(l.node()), count,
            of_image = count / l.batch(), bf16, pass](std::span<void* const> operands, RunState& state) {
      const kernels::DropoutKey key{seed, static_cast<std::uint64_t>(state.step), op};
      const auto run = [&](auto* type) {
        pass(static_cast<decltype(type)>(operands[0]), static_cast<decltype(type)>(operands[1]), count, rule, key,
             static_cast<std::uint64_t>(state.first_image * of_image));
      };
      if (bf16) {
        run(static_cast<std::uint16_t*>(nullptr));
      } else {
        run(static_cast<float*>(nullptr));
      }
    };
  }

  std::string_view kind_;
  float rate_;
  Rule rule_;
};

}  // namespace

}  // namespace facet::ops

namespace facet {

Value dropout(Value x, float rate) {
  return graph::apply(x.graph(), std::make_shared<const ops::Dropout>("dropout", rate, &kernels::dropout_rule),
                      "dropout", {x});
}

Value alpha_dropout(Value x, float rate) {
  return graph::apply(x.graph(),
                      std::make_shared<const ops::Dropout>("alpha_dropout", rate, &kernels::alpha_dropout_rule),
                      "alpha_dropout", {x});
}

}  // namespace facet
