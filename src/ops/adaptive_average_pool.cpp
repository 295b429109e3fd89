#include "kernels/adaptive_average_pool.h"

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
using onednn::Layout;
using onednn::Type;

/// The number of elements in all windows of `count` outputs over `extent` inputs together.
std::int64_t window_elements(std::int64_t count, std::int64_t extent) {
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += kernels::adaptive_window(i, count, extent).size();
  return sum;
}

/// A matrix {extent, count}: the product of a row of `extent` inputs and it is the means of the row's windows.
std::vector<float> window_means(std::int64_t count, std::int64_t extent) {
  std::vector<float> matrix(static_cast<std::size_t>(count * extent), 0.0F);
  for (std::int64_t i = 0; i < count; ++i) {
    const kernels::AdaptiveWindow window = kernels::adaptive_window(i, count, extent);
    for (std::int64_t row = window.begin; row < window.end; ++row)
      matrix[row * count + i] = 1 / static_cast<float>(window.size());
  }
  return matrix;
}

class AdaptiveAveragePool final : public lowering::LowerableOp {
 public:
  explicit AdaptiveAveragePool(const AdaptivePoolOptions& options) : o_(options) {}

  std::string_view kind() const override { return "adaptive_average_pool"; }

  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    require_inputs(inputs, 1);
    const Shape& x = require_image(inputs[0]);
    if (o_.height < 1 || o_.width < 1) {
      throw Error(fmt::format("output extents {}x{} found; at least 1x1 is needed", o_.height, o_.width));
    }
    return {x[0], o_.height, o_.width};
  }
  double flops(const std::vector<Shape>& inputs, const Shape&) const override {
    const Shape& x = inputs[0];
    if (x[1] == o_.height && x[2] == o_.width) return 0;
    return static_cast<double>(x[0]) * static_cast<double>(window_elements(o_.height, x[1])) *
           static_cast<double>(window_elements(o_.width, x[2]));
  }
  /// If all windows have the same size, this is an ordinary pooling; otherwise two matrix products compute the means.
  graph::Operand write_operators(graph::OperatorWriter& writer) const override {
    const graph::Operand image = writer.input(0);
    const std::int64_t rows = writer.input_shape(0)[1], columns = writer.input_shape(0)[2];
    if (rows == o_.height && columns == o_.width) return image;
    if (rows % o_.height == 0 && columns % o_.width == 0) {
      const Shape window{rows / o_.height, columns / o_.width};
      return writer.write("AveragePool", {image}, {{"kernel_shape", window}, {"strides", window}});
    }
    const auto pool_and_turn = [&](const graph::Operand& x, std::string_view part, std::int64_t count,
                                   std::int64_t extent) {
      const graph::Operand means = writer.constant(part, {extent, count}, window_means(count, extent));
      return writer.write("Transpose", {writer.write("MatMul", {x, means})}, {{"perm", Shape{0, 1, 3, 2}}});
    };
    return pool_and_turn(pool_and_turn(image, "columns", o_.width, columns), "rows", o_.height, rows);
  }

  Backward lower(Lowering& l) const override {
    if (l.input_dims(0) == l.output_dims()) {
      l.set_output(l.input(0));
      return [](Lowering& back) {
        if (back.wants_gradient(0)) back.add_input_gradient(0, back.output_gradient());
      };
    }
    const Layout dst_layout = onednn::channels_last(l.output_dims(), l.activation_type());
    const Tensor src = l.input(0, onednn::channels_last(l.input_dims(0), l.activation_type()));
    const Tensor dst = l.make_output(dst_layout);
    l.emit("forward", InstructionKind::pooling, "adaptive_average_pool", {src, dst},
           kernel(l, [](auto... arguments) { kernels::adaptive_average_pool_forward(arguments...); }));
    l.mark_recomputable();
    return [=, this](Lowering& back) {
      if (!back.wants_gradient(0)) return;
      const Tensor diff_dst = back.output_gradient(dst_layout);
      const Tensor diff_src = back.make(src.layout);
      back.emit("backward", InstructionKind::pooling, "adaptive_average_pool", {diff_dst, diff_src},
                kernel(back, [](auto... arguments) { kernels::adaptive_average_pool_backward(arguments...); }));
      back.add_input_gradient(0, diff_src);
    };
  }

 private:
  /// Runs `pass` (forward or backward) from operand 0 to operand 1 in the activations' type.
  template <class Pass>
  lowering::Kernel kernel(const Lowering& l, Pass pass) const {
    const onednn::Dims x = l.input_dims(0);
    const kernels::AdaptivePoolShape shape{x[0], x[1], x[2], x[3], o_.height, o_.width};
    const bool bf16 = l.activation_type() == Type::bf16;
    return [=](std::span<void* const> at, RunState&) {
      if (bf16) {
        pass(shape, static_cast<const std::uint16_t*>(at[0]), static_cast<std::uint16_t*>(at[1]));
      } else {
        pass(shape, static_cast<const float*>(at[0]), static_cast<float*>(at[1]));
      }
    };
  }

  AdaptivePoolOptions o_;
};

}  // namespace

}  // namespace facet::ops

namespace facet {

Value adaptive_average_pool(Value x, const AdaptivePoolOptions& options) {
  return graph::apply(x.graph(), std::make_shared<const ops::AdaptiveAveragePool>(options), "adaptive_average_pool",
                      {x});
}

}  // namespace facet
