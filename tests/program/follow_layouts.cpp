#include <doctest/doctest.h>

#include "program/passes.h"
#include "program/small_model.h"

namespace facet::testing {
namespace {

using lowering::Instruction;
using lowering::InstructionKind;
using lowering::Tensor;
using onednn::Layout;
using onednn::Type;
using program::Buffer;
using program::Compiled;

const onednn::Dims dims{16, 16, 3, 3};

Tensor add_buffer(Compiled& compiled, const Layout& layout) {
  Buffer buffer;
  buffer.bytes = layout.get_size();
  compiled.buffers.push_back(buffer);
  return {static_cast<int>(compiled.buffers.size()) - 1, layout};
}

Instruction reorder(const Tensor& from, const Tensor& to) {
  Instruction step;
  step.name = "weight.reorder";
  step.kind = InstructionKind::reorder;
  step.operands = {from, to};
  return step;
}

}  // namespace

TEST_CASE(
    "follow_layouts: a copy by way of the plain order becomes one step, which reads the parameter where it is now") {
  const Graph graph =
      make_problem([](Value x) { return convolution(front(x, 16), {.channels = 16, .name = "layer"}); }).graph;
  Parameters parameters(graph, 1);
  const int weight = parameters.find("layer.weight");
  const Layout plain = onednn::plain(dims, Type::f32);
  const Layout wanted = onednn::tagged(dims, Type::f32, onednn::Tag::OIhw8i8o);
  for (const bool prologue : {false, true}) {
    for (const bool detour : {false, true}) {
      CAPTURE(prologue);
      CAPTURE(detour);
      Compiled compiled;
      const Tensor master = add_buffer(compiled, plain), between = add_buffer(compiled, plain);
      const Tensor target = add_buffer(compiled, wanted), other = add_buffer(compiled, plain);
      std::vector<Instruction>& instructions = prologue ? compiled.prologue : compiled.instructions;
      instructions.push_back(reorder(other, add_buffer(compiled, wanted)));
      if (detour) instructions.push_back(reorder(master, between));
      instructions.push_back(reorder(detour ? between : master, target));
      instructions.push_back(reorder(target, other));
      compiled.prepared.push_back({weight, target, 1});

      parameters.state().set_layout(weight, onednn::tagged(dims, Type::f32, onednn::Tag::hwio));
      program::PreparedMemory prepared;
      program::follow_layouts(compiled, parameters.state(), prepared);
      REQUIRE(instructions.size() == 3);
      CHECK(instructions[0].operands[0].buffer == other.buffer);
      CHECK(instructions[2].operands[1].buffer == other.buffer);
      REQUIRE(instructions[1].kernel);
      std::vector<float> copied(wanted.get_size() / sizeof(float)), values(copied.size());
      void* operand = copied.data();
      lowering::RunState state;
      instructions[1].kernel({&operand, 1}, state);
      onednn::copy(wanted, copied.data(), plain, values.data());
      CHECK(values == parameters.get(weight));
    }
  }
}

}  // namespace facet::testing
