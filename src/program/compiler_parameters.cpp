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

Tensor Compiler::parameter(int parameter, const Layout& wanted) {
  const int index = current().parameters.at(parameter);
  const Shape& shape = parameters_.list[index].shape;
  if (element_count(onednn::dims_of(wanted)) != element_count(shape)) {
    throw Error(fmt::format("parameter '{}' of shape {} found; as many elements as {} has needed",
                            parameters_.list[index].name, to_string(shape), to_string(onednn::dims_of(wanted))));
  }
  for (const PreparedParameter& other : out_.prepared) {
    if (other.parameter == index && other.tensor.layout == wanted) return other.tensor;
  }
  const bool once = !training() || !parameters_.list[index].is_trained();
  const Tensor tensor = once ? make_held(wanted, parameters_.list[index].name) : make(wanted);
  std::vector<Instruction>& instructions = once ? out_.prologue : out_.instructions;
  out_.prepared.push_back({index, tensor, instructions.size(), once});
  instructions.resize(instructions.size() + 2);  // a reorder through the plain layout uses both
  return tensor;
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
  return make_fixed(parameters_.stored[index].master, parameters_.stored[index].layout);
}

bool Compiler::place_rounded(const PreparedParameter& prepared) {
  const Layout& wanted = prepared.tensor.layout;
  StoredParameter& stored = parameters_.stored[prepared.parameter];
  if (options_.mode != Mode::training || !parameters_.list[prepared.parameter].is_trained() ||
      onednn::type_of(wanted) != Type::bf16 || !onednn::strides_of(stored.layout) ||
      onednn::with_type(stored.layout, Type::bf16) != wanted) {
    return false;
  }
  if (stored.rounded.size() == 0) {
    stored.rounded = base::PageBuffer(wanted.get_size());
    parameters_.rounded_version = 0;
  }
  Buffer& target = out_.buffers[prepared.tensor.buffer];
  target.place = Buffer::Place::fixed;
  target.address = stored.rounded.data();
  return true;
}

void Compiler::place(const PreparedParameter& prepared) {
  if (place_rounded(prepared)) return;
  const StoredParameter& stored = parameters_.stored[prepared.parameter];
  Instruction* instructions = &(prepared.once ? out_.prologue : out_.instructions)[prepared.instruction];
  Buffer& target = out_.buffers[prepared.tensor.buffer];
  if (stored.layout == prepared.tensor.layout) {
    target.place = Buffer::Place::fixed;
    target.address = stored.master.data();
    return;
  }
  const Dims dims = onednn::dims_of(prepared.tensor.layout);
  Tensor master = make_fixed(stored.master, stored.layout);
  const std::string name = parameters_.list[prepared.parameter].name + ".reorder";
  const Dims stored_dims = onednn::dims_of(stored.layout);
  const Layout plain = onednn::plain(stored_dims, Type::f32);
  if (stored.layout != plain && (stored_dims != dims || !onednn::can_reorder(stored.layout, prepared.tensor.layout))) {
    const Tensor detour = make(plain);
    *instructions++ = reorder_instruction(name, master, detour);
    master = detour;
  }
  if (stored_dims != dims) master.layout = onednn::plain(dims, Type::f32);  // the elements are the same in plain order
  *instructions = reorder_instruction(name, master, prepared.tensor);
}

void Compiler::place_prepared_parameters() {
  for (const PreparedParameter& prepared : out_.prepared) {
    naming(fmt::format("parameter '{}'", parameters_.list[prepared.parameter].name), [&] { place(prepared); });
  }
  const auto is_placeholder = [](const Instruction& instruction) {
    return !instruction.kernel && !instruction.primitive;
  };
  const auto backward = out_.instructions.begin() + static_cast<std::ptrdiff_t>(forward_instructions_);
  forward_instructions_ -= static_cast<std::size_t>(std::count_if(out_.instructions.begin(), backward, is_placeholder));
  std::erase_if(out_.prologue, is_placeholder);
  std::erase_if(out_.instructions, is_placeholder);
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

void Compiler::place_held() {
  std::vector<bool> is_read(out_.buffers.size());
  for (const Instruction& instruction : out_.instructions) {
    for (const Tensor& operand : instruction.operands) is_read[operand.buffer] = true;
  }
  for (const Tensor& tensor : held_) {
    Buffer& buffer = out_.buffers[tensor.buffer];
    if (buffer.place != Buffer::Place::held) continue;  // it is a parameter that is read where it is stored
    if (!is_read[tensor.buffer]) {
      buffer.place = Buffer::Place::arena;
      continue;
    }
    out_.held.push_back(prepared_.get(buffer.made_of, tensor.layout));
    buffer.address = out_.held.back()->data();
  }
}

}  // namespace facet::program
