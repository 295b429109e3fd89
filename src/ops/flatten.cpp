#include <memory>

#include "facet/ops.h"
#include "lowering/lowering.h"
#include "ops/shape_rules.h"

namespace facet::ops {

namespace {

using lowering::Backward;
using lowering::Lowering;

/// Another shape of the same values. The tensor keeps its layout: a reader that needs plain vectors requests them, and
/// a linear layer doesn't, because its weights follow the layout of the image.
class Flatten final : public lowering::LowerableOp {
 public:
  std::string_view kind() const override { return "flatten"; }
  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    require_inputs(inputs, 1);
    return {element_count(inputs[0])};
  }
  double flops(const std::vector<Shape>&, const Shape&) const override { return 0; }
  graph::Operand write_operators(graph::OperatorWriter& writer) const override {
    return writer.write("Flatten", {writer.input(0)}, {{"axis", 1}});
  }

  Backward lower(Lowering& l) const override {
    l.set_output(l.input(0));
    return [](Lowering& back) {
      if (back.wants_gradient(0)) back.add_input_gradient(0, back.output_gradient());
    };
  }
};

}  // namespace

}  // namespace facet::ops

namespace facet {

Value flatten(Value x) { return graph::apply(x.graph(), std::make_shared<const ops::Flatten>(), "flatten", {x}); }

}  // namespace facet
