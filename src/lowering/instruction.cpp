#include "lowering/instruction.h"

namespace facet::lowering {

std::string_view to_string(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::convolution_forward:
      return "convolution forward";
    case InstructionKind::convolution_backward_data:
      return "convolution backward data";
    case InstructionKind::convolution_backward_weights:
      return "convolution backward weights";
    case InstructionKind::normalization:
      return "normalization";
    case InstructionKind::pooling:
      return "pooling";
    case InstructionKind::linear:
      return "linear";
    case InstructionKind::elementwise:
      return "elementwise";
    case InstructionKind::loss:
      return "loss";
    case InstructionKind::update:
      return "update";
    case InstructionKind::communication:
      return "communication";
    case InstructionKind::reorder:
      return "reorder";
    case InstructionKind::input:
      return "input";
  }
  return "other";
}

double measure(const Kernel& kernel, const std::vector<onednn::Layout>& operands, double best) {
  RunState state;
  return onednn::measure(
      operands, [&](std::span<void* const> addresses) { kernel(addresses, state); }, best);
}

}  // namespace facet::lowering
