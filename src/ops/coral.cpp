#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

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
using onednn::Layout;
using onednn::Type;

/// Adds each bias to the only element of the input: {1} to {biases}. In inference the biases are in descending order.
class CoralBias final : public lowering::LowerableOp {
 public:
  explicit CoralBias(std::int64_t count) : count_(count) {}

  std::string_view kind() const override { return "coral"; }
  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    require_inputs(inputs, 1);
    return {count_};
  }
  double flops(const std::vector<Shape>&, const Shape&) const override { return static_cast<double>(count_); }
  graph::Operand write_operators(graph::OperatorWriter& writer) const override {
    std::vector<float> biases = writer.values(0);
    std::ranges::sort(biases, std::greater());
    const graph::Operand ones = writer.constant("ones", {count_, 1}, std::vector<float>(biases.size(), 1));
    return writer.write("Gemm", {writer.input(0), ones, writer.constant("bias", {count_}, biases)}, {{"transB", 1}});
  }

  Backward lower(Lowering& l) const override {
    const std::int64_t images = l.batch(), count = count_;
    const Layout layout = onednn::plain({images, count}, Type::f32);
    const Tensor src = l.input(0, onednn::plain({images, 1}, Type::f32));
    const Layout bias_layout = onednn::plain({count}, Type::f32);
    Tensor bias = l.parameter(0, bias_layout);
    if (!l.training()) {
      bias = l.make_from_parameters("sort", InstructionKind::elementwise, kind(), {bias}, bias_layout,
                                    [=](std::span<void* const> at, RunState&) {
                                      float* const sorted = static_cast<float*>(at[1]);
                                      std::copy_n(static_cast<const float*>(at[0]), count, sorted);
                                      std::sort(sorted, sorted + count, std::greater());
                                    });
    }
    l.emit("forward", InstructionKind::elementwise, kind(), {src, bias, l.make_output(layout)},
           [=](std::span<void* const> at, RunState&) {
             const float* const x = static_cast<const float*>(at[0]);
             const float* const b = static_cast<const float*>(at[1]);
             float* const y = static_cast<float*>(at[2]);
             for (std::int64_t n = 0; n < images; ++n) {
               for (std::int64_t k = 0; k < count; ++k) y[n * count + k] = x[n] + b[k];
             }
           });
    return [=](Lowering& back) {
      const Tensor diff_dst = back.output_gradient(layout);
      if (back.wants_gradient(0)) {
        const Tensor diff_src = back.make(src.layout);
        back.emit("backward_data", InstructionKind::elementwise, "coral", {diff_dst, diff_src},
                  [=](std::span<void* const> at, RunState&) {
                    const float* const dy = static_cast<const float*>(at[0]);
                    float* const dx = static_cast<float*>(at[1]);
                    for (std::int64_t n = 0; n < images; ++n) {
                      dx[n] = 0;
                      for (std::int64_t k = 0; k < count; ++k) dx[n] += dy[n * count + k];
                    }
                  });
        back.add_input_gradient(0, diff_src);
      }
      if (!back.wants_parameter_gradient(0)) return;
      const Tensor diff_bias = back.make(bias_layout);
      back.emit("backward_weights", InstructionKind::elementwise, "coral", {diff_dst, diff_bias},
                [=](std::span<void* const> at, RunState&) {
                  const float* const dy = static_cast<const float*>(at[0]);
                  float* const db = static_cast<float*>(at[1]);
                  std::fill_n(db, count, 0.0F);
                  for (std::int64_t n = 0; n < images; ++n) {
                    for (std::int64_t k = 0; k < count; ++k) db[k] += dy[n * count + k];
                  }
                });
      back.set_parameter_gradient(0, diff_bias);
    };
  }

 private:
  std::int64_t count_;
};

}  // namespace

}  // namespace facet::ops

namespace facet {

Value coral(Value x, const CoralOptions& options) {
  if (options.classes < 2) throw Error(fmt::format("coral: {} classes found; at least 2 are needed", options.classes));
  const Value shared =
      linear(x, {.features = 1, .bias = false, .weight_initializer = options.weight_initializer, .name = options.name});
  const std::int64_t biases = options.classes - 1;
  return graph::apply(x.graph(), std::make_shared<const ops::CoralBias>(biases), options.name, {shared},
                      {{options.name + ".bias", {biases}, Initializer::zeros()}});
}

}  // namespace facet
