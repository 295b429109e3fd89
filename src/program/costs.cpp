#include "lowering/lowering.h"
#include "program/program.h"

namespace facet::program {

std::vector<NodeCost> costs(const Graph& graph) {
  std::vector<NodeCost> result;
  for (const Node& node : graph.nodes()) {
    if (node.op == nullptr) {
      result.push_back({node.name, "input", node.shape, 0, 0, 0});
      continue;
    }
    NodeCost cost{node.name, std::string(node.op->kind()), node.shape, 0, 0, 0};
    for (const int index : node.parameters) {
      const Parameter& parameter = graph.parameters()[index];
      if (parameter.trainable) cost.parameters += element_count(parameter.shape);
    }
    std::vector<Shape> inputs;
    bool first = true;  // reads the image alone: no gradient flows further
    for (const int input : node.inputs) {
      inputs.push_back(graph.nodes()[input].shape);
      first = first && graph.nodes()[input].op == nullptr;
    }
    const auto& op = dynamic_cast<const lowering::LowerableOp&>(*node.op);
    cost.forward_flops = op.flops(inputs, node.shape);
    const double backward_passes = op.has_weights() ? (first ? 1 : 2) : 1;
    cost.training_flops = cost.forward_flops * (1 + backward_passes);
    result.push_back(std::move(cost));
  }
  return result;
}

}  // namespace facet::program
