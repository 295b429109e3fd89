#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "facet/error.h"
#include "optim/gradients.h"
#include "program/compiler.h"

/// What a gradient policy may add to a program, and the moving average of the parameters.
namespace facet::program {

using lowering::Instruction;
using lowering::RunState;
using lowering::Tensor;
using onednn::Layout;
using onednn::Type;

namespace {

/// The decay of the average in this step: 0 in the first step, which copies the values.
double decay_in(const RunState& state, double decay) { return state.step == 1 ? 0 : decay; }

}  // namespace

Tensor Compiler::in_stored_order(int parameter, const Tensor& gradient) {
  return convert(gradient, stored(parameter).layout);
}

Tensor Compiler::stored_gradient(int parameter) {
  return make_fixed(store_->gradient(parameter), stored(parameter).layout);
}

Tensor Compiler::stored_gradients(int first, int last) {
  const float* const begin = store_->gradient(first);
  const float* const end = store_->gradient(last) + stored(last).layout.get_size() / sizeof(float);
  if (end <= begin) throw Error("the last parameter of a range of gradients comes before the first");
  return make_fixed(begin, onednn::plain({end - begin}, Type::f32));
}

void Compiler::keep(int parameter, const Tensor& gradient) {
  const Tensor kept = make_held(onednn::plain(onednn::dims_of(gradient.layout), Type::f32));
  append(reorder_instruction(list_[parameter].name + ".gradient", gradient, kept));
  out_.gradients[parameter] = kept;
}

Instruction Compiler::update(int parameter, const Tensor& gradient) {
  const optim::Optimizer& rule = *options_.optimizer;
  const Layout& layout = stored(parameter).layout;
  const auto count = static_cast<std::int64_t>(layout.get_size() / sizeof(float));
  const std::size_t slots = store_->slots.size();
  Instruction instruction;
  instruction.name = list_[parameter].name + ".update";
  instruction.kind = lowering::InstructionKind::update;
  instruction.implementation = "facet:update";
  instruction.work = fmt::format("update {}", to_string(list_[parameter].shape));
  instruction.operands = {gradient, make_fixed(store_->value(parameter), layout)};
  for (std::size_t i = 0; i < slots; ++i) {
    instruction.operands.push_back(make_fixed(store_->slot(parameter, static_cast<int>(i)), layout));
  }
  const std::uint16_t* const copy = store_->bf16_copy(parameter);
  if (copy != nullptr) instruction.operands.push_back(make_fixed(copy, onednn::with_type(layout, Type::bf16)));
  const bool has_average = options_.average != nullptr;
  if (has_average) instruction.operands.push_back(make_fixed(options_.average->state().value(parameter), layout));
  instruction.kernel = [&rule, slots, has_average, has_copy = copy != nullptr, decay = options_.average_decay,
                        name = list_[parameter].name,
                        operands = optim::UpdateOperands{.slots = std::vector<float*>(slots),
                                                         .count = count,
                                                         .shape = list_[parameter].shape,
                                                         .group = rule.group_of(list_[parameter])}](
                           std::span<void* const> at, RunState& state) mutable {
    if (!state.updates) return;
    std::size_t next = 0;
    operands.gradient = static_cast<const float*>(at[next++]);
    operands.weight = static_cast<float*>(at[next++]);
    for (float*& slot : operands.slots) slot = static_cast<float*>(at[next++]);
    if (has_copy) operands.weight_bf16 = static_cast<std::uint16_t*>(at[next++]);
    if (has_average) operands.average = static_cast<float*>(at[next++]);
    operands.gradient_scale = state.gradient_scale;
    operands.average_decay = decay_in(state, decay);
    if (rule.step(operands, {state.learning_rate, state.step, state.momentum})) return;
    throw Error(
        fmt::format("parameter '{}' isn't finite after its update: its gradient is not, or its value before was not, "
                    "or the step is too large",
                    name),
        ErrorCode::non_finite);
  };
  writes(parameter);
  return instruction;
}

void Compiler::emit_average_of_statistics() {
  Parameters::State& average = options_.average->state();
  std::vector<std::function<void(double decay)>> moves;
  for (int i = 0; i < static_cast<int>(list_.size()); ++i) {
    const Parameter& parameter = list_[i];
    const float* const from = store_->value(i);
    float* const to = average.value(i);
    const bool is_updated = parameter.is_trained() && std::ranges::count(out_.written, i) > 0;
    if (parameter.type == DataType::s64) {
      moves.emplace_back([from, to](double) { std::memcpy(to, from, sizeof(std::int64_t)); });
    } else if (parameter.trainable && !is_updated) {  // frozen, or no head's loss depends on it
      moves.emplace_back([from, to, bytes = stored(i).layout.get_size()](double decay) {
        if (decay == 0) std::memcpy(to, from, bytes);  // later steps need not copy: the weight doesn't change
      });
    } else if (!parameter.trainable) {
      moves.emplace_back(
          [from, to, count = element_count(parameter.shape)](double decay) { optim::average(from, to, count, decay); });
    }
  }
  StepBuilder::append(
      "statistics.average", "average", {},
      [moves = std::move(moves), decay = options_.average_decay](std::span<void* const>, RunState& state) {
        if (!state.updates) return;
        for (const auto& move : moves) move(decay_in(state, decay));
      });
}

}  // namespace facet::program
