#include <fmt/format.h>

#include <memory>

#include "facet/error.h"
#include "facet/ops.h"
#include "kernels/pixels.h"
#include "lowering/lowering.h"
#include "ops/fusion.h"
#include "ops/shape_rules.h"

namespace facet::ops {

namespace {

using lowering::Backward;
using lowering::InstructionKind;
using lowering::Lowering;
using lowering::RunState;
using lowering::Tensor;
using onednn::Dims;
using onednn::Layout;
using onednn::Type;

class Concat final : public lowering::LowerableOp {
 public:
  explicit Concat(const ConcatStorage& storage = {}) : storage_(storage) {}

  std::string_view kind() const override { return "concat"; }

  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    if (inputs.empty()) throw Error("no inputs found; at least one is needed");
    Shape result = require_image(inputs[0]);
    for (std::size_t i = 1; i < inputs.size(); ++i) {
      const Shape& x = require_image(inputs[i]);
      if (x[1] != result[1] || x[2] != result[2]) {
        throw Error(fmt::format("shapes {} and {} found; equal heights and widths are needed", to_string(inputs[0]),
                                to_string(x)));
      }
      result[0] += x[0];
    }
    return result;
  }
  double flops(const std::vector<Shape>&, const Shape&) const override { return 0; }
  graph::Operand write_operators(graph::OperatorWriter& writer) const override {
    std::vector<graph::Operand> inputs;
    for (int i = 0; i < writer.input_count(); ++i) inputs.push_back(writer.input(i));
    return writer.write("Concat", inputs, {{"axis", 1}});
  }

  Backward lower(Lowering& l) const override {
    const Type type = l.activation_type();
    const bool in_place = storage_.continues_input;
    Dims whole = l.output_dims();
    if (storage_.channels > 0) whole[1] = storage_.channels;
    const Layout storage_layout = onednn::channels_last(whole, type);
    const Tensor storage = in_place ? as_it_lies(l, 0) : l.make(storage_layout);
    const Layout layout = onednn::slice(storage_layout, l.output_dims(), {0, 0, 0, 0}).value();

    const std::int64_t there = in_place ? l.input_dims(0)[1] : 0;
    Dims written = l.output_dims();
    written[1] -= there;
    std::vector<Tensor> operands{{storage.buffer, onednn::slice(storage_layout, written, {0, there, 0, 0}).value()}};
    std::vector<Part> parts;
    std::int64_t channel = there;
    for (int i = in_place ? 1 : 0; i < l.input_count(); ++i) {
      operands.push_back(as_it_lies(l, i));
      parts.push_back({channel, l.input_dims(i)[1], *onednn::row_stride(operands.back().layout)});
      channel += parts.back().channels;
    }
    l.emit("forward", InstructionKind::elementwise, "copy_rows", std::move(operands),
           [=, rows = whole[0] * whole[2] * whole[3], size = size_of(type)](std::span<void* const> at, RunState&) {
             for (std::size_t i = 0; i < parts.size(); ++i) {
               const Part& part = parts[i];
               kernels::copy_rows(rows, part.channels * size, static_cast<const std::byte*>(at[i + 1]),
                                  part.stride * size, static_cast<std::byte*>(at[0]) + part.first * size,
                                  whole[1] * size);
             }
           });
    if (!in_place && whole == l.output_dims()) l.mark_recomputable();
    l.set_output({storage.buffer, layout});
    return [=](Lowering& back) { emit_backward(back, in_place); };
  }

 private:
  /// A range of channels of the whole, and the stride between the rows that are copied from.
  struct Part {
    std::int64_t first, channels, stride;
  };

  static std::int64_t size_of(Type type) { return static_cast<std::int64_t>(dnnl::memory::data_type_size(type)); }

  /// The input in channels-last order, which may be the beginning of wider rows.
  static Tensor as_it_lies(Lowering& l, int input) {
    const auto given = l.input_layout(input);
    if (given && onednn::row_stride(*given)) return l.input(input, *given);
    return l.input(input, onednn::channels_last(l.input_dims(input), l.activation_type()));
  }

  static void emit_backward(Lowering& l, bool in_place) {
    const Dims whole = l.output_dims();
    Tensor diff_dst = l.output_gradient();
    if (!onednn::row_stride(diff_dst.layout)) {
      diff_dst = l.output_gradient(onednn::channels_last(whole, onednn::type_of(diff_dst.layout)));
    }
    const Type type = onednn::type_of(diff_dst.layout);
    Part part{0, 0, *onednn::row_stride(diff_dst.layout)};
    for (int i = 0; i < l.input_count(); ++i, part.first += part.channels) {
      const Dims dims = l.input_dims(i);
      part.channels = dims[1];
      if (!l.wants_gradient(i)) continue;
      if (in_place && i == 0) {  // its readers accept the beginning of wider rows
        l.add_input_gradient(i, {diff_dst.buffer, onednn::slice(diff_dst.layout, dims, {0, 0, 0, 0}).value()});
        continue;
      }
      const Tensor diff_src = l.make(onednn::channels_last(dims, type));
      l.emit("backward", InstructionKind::elementwise, "copy_rows", {diff_dst, diff_src},
             [=, rows = whole[0] * whole[2] * whole[3], size = size_of(type)](std::span<void* const> at, RunState&) {
               kernels::copy_rows(rows, part.channels * size, static_cast<const std::byte*>(at[0]) + part.first * size,
                                  part.stride * size, static_cast<std::byte*>(at[1]), part.channels * size);
             });
      l.add_input_gradient(i, diff_src);
    }
  }

  ConcatStorage storage_;
};

}  // namespace

bool is_concat(const graph::Op& op) { return dynamic_cast<const Concat*>(&op) != nullptr; }

std::shared_ptr<const graph::Op> with_storage(const graph::Op& concat, const ConcatStorage& storage) {
  return is_concat(concat) ? std::make_shared<const Concat>(storage) : nullptr;
}

}  // namespace facet::ops

namespace facet {

Value concat(const std::vector<Value>& inputs) {
  if (inputs.empty()) throw Error("concat: no inputs found; at least one is needed");
  return graph::apply(inputs[0].graph(), std::make_shared<const ops::Concat>(), "concat", inputs);
}

}  // namespace facet
