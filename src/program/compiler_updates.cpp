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

void add_to(lowering::UpdateHistograms& histograms, std::size_t parameter, const optim::UpdateOperands& updated) {
  const auto count = static_cast<std::size_t>(updated.count);
  histograms.gradients[parameter].add({updated.gradient, count}, updated.gradient_scale);
  histograms.weights[parameter].add({updated.weight, count}, 1);
}

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

bool Compiler::compute_in_store(int parameter, const Tensor& gradient) {
  const Layout& layout = stored(parameter).layout;
  Buffer& buffer = out_.buffers[gradient.buffer];
  const bool is_of_value =  // and may change
      std::ranges::any_of(gradients_, [&](const Tensor& other) { return other.buffer == gradient.buffer; });
  if (is_of_value || gradient.layout != layout || buffer.place != Buffer::Place::arena || buffer.kept ||
      buffer.bytes != layout.get_size()) {
    return false;
  }
  buffer.place = Buffer::Place::fixed;
  buffer.address = reinterpret_cast<std::byte*>(store_->gradient(parameter));
  return true;
}

std::vector<optim::StoredPart> Compiler::stored_parts() const {
  std::vector<optim::StoredPart> parts;
  for (std::size_t i = 0; i < list_.size(); ++i) {
    if (!list_[i].is_trained()) continue;
    const StoredParameter& place = store_->stored[i];
    parts.push_back({static_cast<int>(i), {place.offset, place.layout.get_size() / sizeof(float)}, place.bf16_offset});
  }
  std::ranges::sort(parts, {}, [](const optim::StoredPart& part) { return part.elements.begin; });
  return parts;
}

/// Elements of a parameter as an update rule sees them in a run.
struct Compiler::Updated {
  std::size_t begin = 0;
  bool has_copy = false, has_average = false;
  double average_decay = 0;
  optim::UpdateOperands operands;

  /// Sets the arrays to those at the addresses of an update_instruction().
  const optim::UpdateOperands& read(std::span<void* const> at, const RunState& state) {
    std::size_t next = 0;
    operands.gradient = static_cast<const float*>(at[next++]) + begin;
    operands.weight = static_cast<float*>(at[next++]) + begin;
    for (float*& slot : operands.slots) slot = static_cast<float*>(at[next++]) + begin;
    if (has_copy) operands.weight_bf16 = static_cast<std::uint16_t*>(at[next++]) + begin;
    if (has_average) operands.average = static_cast<float*>(at[next++]) + begin;
    operands.gradient_scale = state.gradient_scale;
    operands.average_decay = decay_in(state, average_decay);
    return operands;
  }
};

Compiler::Updated Compiler::updated(int parameter, const comm::Part& elements) const {
  return {.begin = elements.begin,
          .has_copy = store_->bf16_copy(parameter) != nullptr,
          .has_average = options_.average != nullptr,
          .average_decay = options_.average_decay,
          .operands = {.slots = std::vector<float*>(store_->slots.size()),
                       .count = static_cast<std::int64_t>(elements.count),
                       .shape = list_[parameter].shape,
                       .group = options_.optimizer->group_of(list_[parameter])}};
}

Instruction Compiler::update_instruction(int parameter, const Tensor& gradient, std::string_view part) {
  const Layout& layout = stored(parameter).layout;
  Instruction instruction;
  instruction.name = fmt::format("{}.{}", list_[parameter].name, part);
  instruction.kind = lowering::InstructionKind::update;
  instruction.implementation = fmt::format("facet:{}", part);
  instruction.work = fmt::format("{} {}", part, to_string(list_[parameter].shape));
  instruction.operands = {gradient, make_fixed(store_->value(parameter), layout)};
  for (int i = 0; i < std::ssize(store_->slots); ++i) {
    instruction.operands.push_back(make_fixed(store_->slot(parameter, i), layout));
  }
  if (const std::uint16_t* const copy = store_->bf16_copy(parameter)) {
    instruction.operands.push_back(make_fixed(copy, stored(parameter).bf16_layout));
  }
  if (options_.average != nullptr) {
    instruction.operands.push_back(make_fixed(options_.average->state().value(parameter), layout));
  }
  return instruction;
}

Instruction Compiler::update(int parameter, const Tensor& gradient) {
  return update(parameter, gradient, {0, stored(parameter).layout.get_size() / sizeof(float)}, {});
}

Instruction Compiler::update(int parameter, const Tensor& gradient, const comm::Part& elements,
                             std::span<const double> sums) {
  const optim::Optimizer& rule = *options_.optimizer;
  Instruction instruction = update_instruction(parameter, gradient, "update");
  instruction.kernel = [&rule, sums, parameter, name = list_[parameter].name, updated = updated(parameter, elements)](
                           std::span<void* const> at, RunState& state) mutable {
    if (!state.updates) return;
    const optim::UpdateOperands& operands = updated.read(at, state);
    const optim::UpdateFactors factors{state.learning_rate, state.step, state.momentum};
    if (!(sums.empty() ? rule.step(operands, factors) : rule.update(operands, factors, sums))) {
      throw Error(
          fmt::format("parameter '{}' isn't finite after its update: its gradient is not, or its value before was "
                      "not, or the step is too large",
                      name),
          ErrorCode::non_finite);
    }
    if (state.histograms != nullptr) add_to(*state.histograms, static_cast<std::size_t>(parameter), operands);
  };
  writes(parameter);
  return instruction;
}

Instruction Compiler::sum_for_update(int parameter, const Tensor& gradient, const comm::Part& elements,
                                     std::span<double> sums) {
  Instruction instruction = update_instruction(parameter, gradient, "sum_for_update");
  instruction.kernel = [&rule = *options_.optimizer, sums, updated = updated(parameter, elements)](
                           std::span<void* const> at, RunState& state) mutable {
    if (!state.updates) return;
    rule.sum(updated.read(at, state), {state.learning_rate, state.step, state.momentum}, sums);
  };
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
