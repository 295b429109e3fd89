#include <fmt/format.h>

#include <memory>

#include "facet/error.h"
#include "facet/ops.h"
#include "lowering/lowering.h"
#include "ops/shape_rules.h"

namespace facet {

namespace {

using lowering::Backward;
using lowering::Lowering;
using lowering::StepKind;
using lowering::Tensor;
using onednn::Dims;
using onednn::Layout;

class Concat final : public lowering::LowerableOp {
 public:
  std::string_view kind() const override { return "concat"; }

  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    Shape result = require_image(inputs.at(0));
    for (std::size_t i = 1; i < inputs.size(); ++i) {
      const Shape& x = require_image(inputs[i]);
      if (x[1] != result[1] || x[2] != result[2]) {
        throw Error(fmt::format("shapes {} and {} found; equal heights and widths needed", to_string(inputs[0]),
                                to_string(x)));
      }
      result[0] += x[0];
    }
    return result;
  }
  double flops(const std::vector<Shape>&, const Shape&) const override { return 0; }

  Backward lower(Lowering& l) const override {
    std::vector<Layout> layouts;
    std::vector<std::pair<int, Tensor>> arguments;
    const Tensor first = l.input(0);
    for (int i = 0; i < l.input_count(); ++i) {
      const Tensor x = l.input(i, onednn::with_dims(first.layout, l.input_dims(i)));
      layouts.push_back(x.layout);
      arguments.emplace_back(DNNL_ARG_MULTIPLE_SRC + i, x);
    }
    const auto forward = onednn::concat(onednn::with_dims(first.layout, l.output_dims()), 1, layouts);
    const Tensor dst = l.make_output(forward.dst_desc());
    arguments.emplace_back(DNNL_ARG_DST, dst);
    l.emit("forward", StepKind::elementwise, forward, dnnl::concat(forward), std::move(arguments));
    l.mark_recomputable();
    return [=](Lowering& back) { emit_backward(back, dst.layout, layouts); };
  }

 private:
  static void emit_backward(Lowering& l, const Layout& whole, const std::vector<Layout>& parts) {
    Tensor diff_dst = l.output_gradient(whole);
    std::int64_t channel = 0;
    for (int i = 0; i < static_cast<int>(parts.size()); ++i) {
      const Dims dims = onednn::dims_of(parts[i]);
      const Dims offset{0, channel, 0, 0};
      channel += dims[1];
      if (!l.wants_gradient(i)) continue;
      std::optional<Layout> slice = onednn::slice(diff_dst.layout, dims, offset);
      if (!slice) {
        // It begins within a block of channels: only an order without blocks can be cut there.
        diff_dst = l.output_gradient(onednn::plain(onednn::dims_of(whole), onednn::type_of(whole)));
        slice = diff_dst.layout.submemory_desc(dims, offset);
      }
      const auto descriptor = onednn::reorder(*slice, parts[i]);
      const Tensor diff_src = l.make(parts[i]);
      l.emit("backward", StepKind::elementwise, descriptor, dnnl::reorder(descriptor),
             {{DNNL_ARG_FROM, Tensor{diff_dst.buffer, *slice}}, {DNNL_ARG_TO, diff_src}});
      l.add_input_gradient(i, diff_src);
    }
  }
};

}  // namespace

Value concat(const std::vector<Value>& inputs) {
  if (inputs.empty()) throw Error("concat: no inputs found; at least one needed");
  return inputs[0].graph().apply(std::make_shared<const Concat>(), "concat", inputs);
}

}  // namespace facet
