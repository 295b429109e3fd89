#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "facet/error.h"
#include "kernels/update.h"
#include "program/compiler.h"

/// What programs do with the parameters' gradients: keep them, or accumulate, clip and apply them.
namespace facet::program {

using lowering::Instruction;
using lowering::RunState;
using lowering::Tensor;
using onednn::Layout;
using onednn::Type;

namespace {

std::int64_t float_count(const Layout& layout) { return static_cast<std::int64_t>(layout.get_size() / sizeof(float)); }

/// The decay of the average in this step: 0 in the first step, which copies the values.
double decay_in(const RunState& state, double decay) { return state.step == 1 ? 0 : decay; }

/// @param squares the sum of the gradient's squares. It is known already, and while it is finite, so is every element.
void require_finite_gradient(const std::string& parameter, const float* gradient, std::int64_t count, double squares) {
  if (std::isfinite(squares) || kernels::all_finite(gradient, count)) return;
  throw Error(fmt::format("the gradient of parameter '{}' isn't finite", parameter));
}

Instruction update_instruction(std::string name, std::string_view implementation, std::vector<Tensor> operands,
                               lowering::Kernel kernel) {
  Instruction instruction;
  instruction.name = std::move(name);
  instruction.kind = lowering::InstructionKind::update;
  instruction.implementation = fmt::format("facet:{}", implementation);
  instruction.operands = std::move(operands);
  instruction.kernel = std::move(kernel);
  return instruction;
}

}  // namespace

void Compiler::keep_gradient(int parameter, const Tensor& gradient) {
  const Tensor kept = make_held(onednn::plain(onednn::dims_of(gradient.layout), Type::f32));
  out_.instructions.push_back(reorder_instruction(parameters_.list[parameter].name + ".gradient", gradient, kept));
  out_.gradients[parameter] = kept;
}

void Compiler::take_gradient(int parameter, const Tensor& gradient) {
  // The first training program stores each parameter in the layout of its gradient.
  if (!parameters_.layout_fixed) {
    parameters_.set_layout(parameter, gradient.layout);
    if (options_.average != nullptr) options_.average->state().set_layout(parameter, gradient.layout);
  }
  Tensor ordered = convert(gradient, parameters_.stored[parameter].layout);
  if (options_.accumulate) {
    ordered = emit_accumulation(parameter, ordered);
  } else if (options_.clip_norm > 0) {
    emit_norm(parameter, ordered);
  } else {
    emit_update(parameter, ordered);
    return;
  }
  waiting_.emplace_back(parameter, ordered);
}

Tensor Compiler::emit_accumulation(int parameter, const Tensor& gradient) {
  StoredParameter& stored = parameters_.stored[parameter];
  if (stored.gradient.size() == 0) stored.gradient = base::PageBuffer(stored.layout.get_size());
  const Tensor sum = make_fixed(stored.gradient, stored.layout);
  out_.instructions.push_back(update_instruction(
      parameters_.list[parameter].name + ".gradient_sum", "accumulate", {gradient, sum},
      [name = parameters_.list[parameter].name, count = float_count(stored.layout)](std::span<void* const> addresses,
                                                                                    RunState& state) {
        auto* so_far = static_cast<float*>(addresses[1]);
        const double squares =
            kernels::accumulate(static_cast<const float*>(addresses[0]), so_far, count, state.adds_gradients);
        require_finite_gradient(name, so_far, count, squares);
        state.squared_norm += squares;
      }));
  return sum;
}

void Compiler::emit_norm(int parameter, const Tensor& gradient) {
  out_.instructions.push_back(
      update_instruction(parameters_.list[parameter].name + ".gradient_norm", "sum_of_squares", {gradient},
                         [name = parameters_.list[parameter].name, count = float_count(gradient.layout)](
                             std::span<void* const> addresses, RunState& state) {
                           const auto* values = static_cast<const float*>(addresses[0]);
                           const double squares = kernels::sum_of_squares(values, count);
                           require_finite_gradient(name, values, count, squares);
                           state.squared_norm += squares;
                         }));
}

void Compiler::emit_clipping() {
  // This is the formula of PyTorch's clip_grad_norm_; its 1e-6 avoids a division by zero.
  out_.instructions.push_back(update_instruction(
      "gradients.clip", "clip", {}, [most = options_.clip_norm](std::span<void* const>, RunState& state) {
        if (!state.updates) return;
        const double norm = std::sqrt(state.squared_norm) * state.gradient_scale;
        if (!std::isfinite(norm)) throw Error(fmt::format("the gradients' norm is {}, not finite", norm));
        state.gradient_scale *= static_cast<float>(std::min(1.0, most / (norm + 1e-6)));
      }));
}

void Compiler::emit_waiting_updates() {
  if (waiting_.empty()) return;
  if (options_.clip_norm > 0) emit_clipping();
  for (const auto& [parameter, gradient] : waiting_) emit_update(parameter, gradient);
}

void Compiler::emit_update(int parameter, const Tensor& gradient) {
  const StoredParameter& stored = parameters_.stored[parameter];
  optim::UpdateOperands operands{
      .target = {.weight = nullptr, .gradient = nullptr, .weight_bf16 = nullptr, .count = float_count(stored.layout)},
      .slots = std::vector<float*>(stored.slots.size()),
      .one_dimension = parameters_.list[parameter].shape.size() == 1};
  if (options_.average != nullptr) {
    operands.target.average = reinterpret_cast<float*>(options_.average->state().stored[parameter].master.data());
  }
  std::vector<Tensor> tensors{gradient, make_fixed(stored.master, stored.layout)};
  for (const base::PageBuffer& slot : stored.slots) tensors.push_back(make_fixed(slot, stored.layout));
  out_.instructions.push_back(
      update_instruction(parameters_.list[parameter].name + ".update", "update", std::move(tensors),
                         [operands, &stored, name = parameters_.list[parameter].name, rule = options_.optimizer,
                          decay = options_.average_decay](std::span<void* const> at, RunState& state) mutable {
                           if (!state.updates) return;
                           if (stored.rounded.size() > 0) {
                             operands.target.weight_bf16 = reinterpret_cast<std::uint16_t*>(stored.rounded.data());
                           }
                           operands.target.gradient = static_cast<const float*>(at[0]);
                           operands.target.weight = static_cast<float*>(at[1]);
                           for (std::size_t i = 0; i < operands.slots.size(); ++i) {
                             operands.slots[i] = static_cast<float*>(at[2 + i]);
                           }
                           operands.target.gradient_scale = state.gradient_scale;
                           operands.target.average_decay = decay_in(state, decay);
                           if (rule->update(operands, {state.learning_rate, state.step, state.momentum})) {
                             return;
                           }
                           throw Error(
                               fmt::format("parameter '{}' isn't finite after its update: its gradient is not, or its "
                                           "value before was not, or the step is too large",
                                           name));
                         }));
  updated_[parameter] = true;
  out_.instructions.back().work = fmt::format("update {}", to_string(parameters_.list[parameter].shape));
}

void Compiler::emit_average_of_statistics() {
  Parameters::State& average = options_.average->state();
  std::vector<std::function<void(double decay)>> moves;
  for (std::size_t i = 0; i < parameters_.list.size(); ++i) {
    const Parameter& parameter = parameters_.list[i];
    const std::byte* from = parameters_.stored[i].master.data();
    std::byte* to = average.stored[i].master.data();
    if (parameter.type == DataType::s64) {
      moves.emplace_back([from, to](double) { std::memcpy(to, from, sizeof(std::int64_t)); });
    } else if (parameter.trainable && !updated_[i]) {  // frozen, or no head's loss depends on it
      moves.emplace_back([from, to, bytes = parameters_.stored[i].master.size()](double decay) {
        if (decay == 0) std::memcpy(to, from, bytes);  // later steps need not copy: the weight doesn't change
      });
    } else if (!parameter.trainable) {
      moves.emplace_back([from, to, count = element_count(parameter.shape)](double decay) {
        kernels::average(reinterpret_cast<const float*>(from), reinterpret_cast<float*>(to), count, decay);
      });
    }
  }
  out_.instructions.push_back(update_instruction(
      "statistics.average", "average", {},
      [moves = std::move(moves), decay = options_.average_decay](std::span<void* const>, RunState& state) {
        if (!state.updates) return;
        for (const auto& move : moves) move(decay_in(state, decay));
      }));
}

}  // namespace facet::program
