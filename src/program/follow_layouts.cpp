#include "program/follow_layouts.h"

#include <algorithm>

namespace facet::program {

using lowering::RunState;
using lowering::Step;
using lowering::Tensor;
using onednn::Layout;

namespace {

/// The step that puts a tensor into this one's order; the end where none does.
std::vector<Step>::iterator find_reorder(std::vector<Step>& steps, const Tensor& target) {
  return std::find_if(steps.begin(), steps.end(), [&](const Step& step) {
    return step.kind == lowering::StepKind::reorder && step.operands.size() > 1 &&
           step.operands[1].buffer == target.buffer;
  });
}

/// Puts `copy` in the place of the step that makes a parameter's prepared copy, or of both with a detour through the
/// plain order. False where there is none: the master itself is read.
bool replace_steps(std::vector<Step>& steps, const Tensor& target, Step& copy) {
  const auto last = find_reorder(steps, target);
  if (last == steps.end()) return false;
  const Tensor source = last->operands[0];
  *last = std::move(copy);
  if (const auto detour = find_reorder(steps, source); detour != steps.end()) steps.erase(detour);
  return true;
}

Step copy_step(const std::string& name, const StoredParameter& stored, const Tensor& target) {
  Step step;
  step.name = name + ".reorder";
  step.kind = lowering::StepKind::reorder;
  step.implementation = "facet:copy";
  step.operands = {target};
  step.kernel = [&stored, layout = target.layout](std::span<void* const> operands, RunState&) {
    const onednn::Dims dims = onednn::dims_of(layout);
    const onednn::Dims stored_dims = onednn::dims_of(stored.layout);
    if (stored_dims == dims) {
      onednn::copy(stored.layout, stored.master.data(), layout, operands[0]);
    } else {  // the same numbers in the same order under the op's extents
      const Layout plain = onednn::plain(stored_dims, onednn::Type::f32);
      const base::PageBuffer ordered(plain.get_size());
      onednn::copy(stored.layout, stored.master.data(), plain, ordered.data());
      onednn::copy(onednn::plain(dims, onednn::Type::f32), ordered.data(), layout, operands[0]);
    }
  };
  return step;
}

}  // namespace

void follow_layouts(Compiled& compiled, const Parameters::State& parameters, PreparedMemory& memory) {
  for (const PreparedParameter& prepared : compiled.prepared) {
    Step copy =
        copy_step(parameters.list[prepared.parameter].name, parameters.stored[prepared.parameter], prepared.tensor);
    if (replace_steps(compiled.prologue, prepared.tensor, copy) ||
        replace_steps(compiled.steps, prepared.tensor, copy)) {
      continue;
    }
    compiled.held.push_back(memory.get(parameters.list[prepared.parameter].name, prepared.tensor.layout));
    Buffer& buffer = compiled.buffers[prepared.tensor.buffer];
    buffer.place = Buffer::Place::held;
    buffer.address = compiled.held.back()->data();
    // First: what is made of the parameter comes after.
    compiled.prologue.insert(compiled.prologue.begin(), std::move(copy));
  }
  compiled.prepared.clear();  // layouts change once
}

}  // namespace facet::program
