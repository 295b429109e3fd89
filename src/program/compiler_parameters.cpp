#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "facet/error.h"
#include "program/compiler.h"

/// How instructions read parameters and what is computed from parameters: in the layouts that the instructions request,
/// prepared once for all runs where the parameters don't change.
namespace facet::program {

using lowering::Instruction;
using lowering::Tensor;
using onednn::Dims;
using onednn::Layout;
using onednn::Type;

bool Compiler::is_constant(int parameter) const { return !training() || !list_[parameter].is_trained(); }

bool Compiler::reads_copy(int parameter) const {
  // A program of another batch size than the plan's may compute a layer in f32 (by Winograd, for example). It then
  // reads the rounded weights, too: all processes must compute with the same ones, also those whose share of the images
  // has another size.
  return communicator_of(options_) != nullptr && store_->bf16_copy(parameter) != nullptr;
}

Tensor Compiler::parameter(int parameter, const Layout& wanted) {
  const int index = current().parameters.at(parameter);
  const Shape& shape = list_[index].shape;
  if (element_count(onednn::dims_of(wanted)) != element_count(shape)) {
    throw Error(fmt::format("parameter '{}' of shape {} found; as many elements as {} has needed", list_[index].name,
                            to_string(shape), to_string(onednn::dims_of(wanted))));
  }
  std::vector<Tensor>& read = read_[index];
  for (const Tensor& other : read) {
    if (other.layout == wanted) return other;
  }
  if (store_ == nullptr) return read.emplace_back(make(wanted));
  if (is_constant(index)) {
    out_.prepared_from.push_back(index);
  } else if (read.empty()) {
    policy_->before_read(*this, index);
  }
  const std::optional<Tensor> in_place = read_in_place(index, wanted);
  return read.emplace_back(in_place ? *in_place : read_reordered(index, wanted));
}

std::optional<Tensor> Compiler::read_in_place(int parameter, const Layout& wanted) {
  const auto read = [&](const void* place) {
    const Tensor tensor = make_fixed(place, wanted);
    out_.buffers.back().made_of = list_[parameter].name;
    return tensor;
  };
  const StoredParameter& held = stored(parameter);
  const Layout& layout = held.layout;
  if (held.bf16_offset && held.bf16_layout == wanted) return read(store_->bf16_copy(parameter));
  if (reads_copy(parameter)) return std::nullopt;
  const bool both_plain = layout == onednn::plain(onednn::dims_of(layout), Type::f32) &&
                          wanted == onednn::plain(onednn::dims_of(wanted), Type::f32);
  if (layout == wanted || both_plain) return read(store_->value(parameter));
  return std::nullopt;
}

Tensor Compiler::read_reordered(int parameter, const Layout& wanted) {
  const std::string& name = list_[parameter].name;
  const bool once = is_constant(parameter);
  const Tensor result = once ? make_held(wanted, name) : make(wanted);
  std::vector<Instruction>& instructions = once ? out_.prologue : out_.instructions;
  Tensor from = reads_copy(parameter) ? make_fixed(store_->bf16_copy(parameter), stored(parameter).bf16_layout)
                                      : make_fixed(store_->value(parameter), stored(parameter).layout);
  const Layout layout = from.layout;
  const Type type = onednn::type_of(layout);
  const Dims stored_dims = onednn::dims_of(layout), dims = onednn::dims_of(wanted);
  const Layout plain = onednn::plain(stored_dims, type);
  if (layout != plain && (stored_dims != dims || !onednn::can_reorder(layout, wanted))) {
    const Tensor detour = make(plain);
    instructions.push_back(reorder_instruction(name + ".reorder", from, detour));
    from = detour;
  }
  if (stored_dims != dims) from.layout = onednn::plain(dims, type);  // the elements are the same in plain order
  instructions.push_back(reorder_instruction(name + ".reorder", from, result));
  return result;
}

Tensor Compiler::make_from_parameters(std::string_view part, lowering::InstructionKind kind, std::string_view name,
                                      std::vector<Tensor> parameters, const Layout& layout, lowering::Kernel kernel) {
  Instruction instruction = kernel_instruction(part, kind, name, std::move(parameters), std::move(kernel));
  const Tensor result =
      is_constant()
          ? make_held(layout, made_of(instruction.name + " by " + instruction.implementation, instruction.operands))
          : make(layout);
  instruction.operands.push_back(result);
  (is_constant() ? out_.prologue : out_.instructions).push_back(std::move(instruction));
  return result;
}

Tensor Compiler::reorder_from_parameters(const Tensor& made, const Layout& wanted) {
  if (made.layout == wanted) return made;
  const Tensor result = is_constant() ? make_held(wanted, made_of("reorder", {made})) : make(wanted);
  (is_constant() ? out_.prologue : out_.instructions)
      .push_back(reorder_instruction(current().name + ".reorder", made, result));
  return result;
}

Tensor Compiler::statistic(int parameter) {
  const int index = current().parameters.at(parameter);
  if (store_ == nullptr) return make(onednn::plain({1}, Type::f32));
  out_.written.push_back(index);
  const Tensor tensor = list_[index].type == DataType::s64
                            ? make_fixed(store_->counter(index), sizeof(std::int64_t), Layout())
                            : make_fixed(store_->value(index), stored(index).layout);
  statistics_.emplace_back(index, tensor);
  return tensor;
}

Tensor Compiler::make_held(const Layout& layout, std::string made_of) {
  const Tensor tensor = make(layout);
  out_.buffers.back().place = Buffer::Place::held;
  out_.buffers.back().made_of = std::move(made_of);
  held_.push_back(tensor);
  return tensor;
}

std::string Compiler::made_of(const std::string& instruction, const std::vector<Tensor>& operands) const {
  std::vector<std::string> names;
  for (const Tensor& operand : operands) names.push_back(out_.buffers[operand.buffer].made_of);
  return fmt::format("{} of ({})", instruction, fmt::join(names, ", "));
}

void Compiler::place_held(PreparedMemory& prepared) {
  std::vector<bool> is_read(out_.buffers.size());
  for (const Instruction& instruction : out_.instructions) {
    for (const Tensor& operand : instruction.operands) is_read[operand.buffer] = true;
  }
  for (const Tensor& tensor : held_) {
    Buffer& buffer = out_.buffers[tensor.buffer];
    if (!is_read[tensor.buffer]) {
      buffer.place = Buffer::Place::arena;
      continue;
    }
    out_.held.push_back(prepared.get(buffer.made_of, tensor.layout));
    buffer.address = out_.held.back()->data();
  }
}

}  // namespace facet::program
