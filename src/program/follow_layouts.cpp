#include <algorithm>

#include "program/passes.h"

namespace facet::program {

using lowering::Instruction;
using lowering::RunState;
using lowering::Tensor;
using onednn::Layout;

namespace {

/// Finds the reorder that writes `target`; the end if there is none.
std::vector<Instruction>::iterator find_reorder(std::vector<Instruction>& instructions, const Tensor& target) {
  return std::find_if(instructions.begin(), instructions.end(), [&](const Instruction& instruction) {
    return instruction.kind == lowering::InstructionKind::reorder && instruction.operands.size() > 1 &&
           instruction.operands[1].buffer == target.buffer;
  });
}

/// Replaces the reorder that writes a parameter's prepared copy by `copy`, and removes the reorder to the plain layout
/// before it, if there is one. Returns false if there is no prepared copy because the master itself is read.
bool replace_instructions(std::vector<Instruction>& instructions, const Tensor& target, Instruction& copy) {
  const auto last = find_reorder(instructions, target);
  if (last == instructions.end()) return false;
  const Tensor source = last->operands[0];
  *last = std::move(copy);
  if (const auto detour = find_reorder(instructions, source); detour != instructions.end()) instructions.erase(detour);
  return true;
}

Instruction copy_instruction(const std::string& name, const StoredParameter& stored, const Tensor& target) {
  Instruction instruction;
  instruction.name = name + ".reorder";
  instruction.kind = lowering::InstructionKind::reorder;
  instruction.implementation = "facet:copy";
  instruction.operands = {target};
  instruction.kernel = [&stored, layout = target.layout](std::span<void* const> operands, RunState&) {
    const onednn::Dims dims = onednn::dims_of(layout);
    const onednn::Dims stored_dims = onednn::dims_of(stored.layout);
    if (stored_dims == dims) {
      onednn::copy(stored.layout, stored.master.data(), layout, operands[0]);
    } else {  // the op's dimensions differ; the elements are the same in plain order
      const Layout plain = onednn::plain(stored_dims, onednn::Type::f32);
      const base::PageBuffer ordered(plain.get_size());
      onednn::copy(stored.layout, stored.master.data(), plain, ordered.data());
      onednn::copy(onednn::plain(dims, onednn::Type::f32), ordered.data(), layout, operands[0]);
    }
  };
  return instruction;
}

}  // namespace

void follow_layouts(Compiled& compiled, const Parameters::State& parameters, PreparedMemory& memory) {
  for (const PreparedParameter& prepared : compiled.prepared) {
    Instruction copy = copy_instruction(parameters.list[prepared.parameter].name, parameters.stored[prepared.parameter],
                                        prepared.tensor);
    if (replace_instructions(compiled.prologue, prepared.tensor, copy) ||
        replace_instructions(compiled.instructions, prepared.tensor, copy)) {
      continue;
    }
    compiled.held.push_back(memory.get(parameters.list[prepared.parameter].name, prepared.tensor.layout));
    Buffer& buffer = compiled.buffers[prepared.tensor.buffer];
    buffer.place = Buffer::Place::held;
    buffer.address = compiled.held.back()->data();
    // It runs before the instructions that compute something from the parameter.
    compiled.prologue.insert(compiled.prologue.begin(), std::move(copy));
  }
  compiled.prepared.clear();  // layouts change only once
}

}  // namespace facet::program
