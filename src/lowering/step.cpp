#include "lowering/step.h"

namespace facet::lowering {

std::string_view to_string(StepKind kind) {
  switch (kind) {
    case StepKind::convolution_forward:
      return "convolution forward";
    case StepKind::convolution_backward_data:
      return "convolution backward data";
    case StepKind::convolution_backward_weights:
      return "convolution backward weights";
    case StepKind::normalization:
      return "normalization";
    case StepKind::pooling:
      return "pooling";
    case StepKind::linear:
      return "linear";
    case StepKind::elementwise:
      return "elementwise";
    case StepKind::loss:
      return "loss";
    case StepKind::update:
      return "update";
    case StepKind::reorder:
      return "reorder";
    case StepKind::input:
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
