#include "program/follow_layouts.h"

#include <algorithm>

namespace facet::program {

using lowering::RunState;
using lowering::Step;
using lowering::Tensor;
using onednn::Layout;

namespace {

/// The step that makes a parameter's prepared copy; null where the master itself is read.
Step* find_step(std::vector<Step>& steps, const Tensor& target) {
  const auto found = std::find_if(steps.begin(), steps.end(), [&](const Step& step) {
    return step.kind == lowering::StepKind::reorder && step.operands.size() > 1 &&
           step.operands[1].buffer == target.buffer;
  });
  return found == steps.end() ? nullptr : &*found;
}

Step copy_step(const std::string& name, const StoredParameter& stored, const Tensor& target) {
  Step step;
  step.name = name + ".reorder";
  step.kind = lowering::StepKind::reorder;
  step.implementation = "facet";
  step.operands = {target};
  step.kernel = [&stored, layout = target.layout](std::span<void* const> operands, RunState&) {
    const onednn::Dims dims = onednn::dims_of(layout);
    const Layout from = onednn::dims_of(stored.layout) == dims ? stored.layout : onednn::plain(dims, onednn::Type::f32);
    onednn::copy(from, stored.master.data(), layout, operands[0]);
  };
  return step;
}

}  // namespace

void follow_layouts(Compiled& compiled, const Parameters::State& parameters) {
  for (const PreparedParameter& prepared : compiled.prepared) {
    Step copy =
        copy_step(parameters.list[prepared.parameter].name, parameters.stored[prepared.parameter], prepared.tensor);
    if (Step* step = find_step(compiled.prologue, prepared.tensor)) {
      *step = std::move(copy);
    } else if (Step* each_run = find_step(compiled.steps, prepared.tensor)) {
      *each_run = std::move(copy);
    } else {
      compiled.held.emplace_back(prepared.tensor.layout.get_size());
      Buffer& buffer = compiled.buffers[prepared.tensor.buffer];
      buffer.place = Buffer::Place::held;
      buffer.address = compiled.held.back().data();
      compiled.prologue.push_back(std::move(copy));
    }
  }
  compiled.prepared.clear();  // layouts change once
}

}  // namespace facet::program
