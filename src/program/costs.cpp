#include "lowering/lowering.h"
#include "program/passes.h"
#include "program/program.h"

namespace facet::program {

std::vector<NodeCost> costs(const Graph& graph) {
  std::vector<NodeCost> result;
  const std::vector<bool> needed = find_needed_gradients(graph.nodes(), graph.parameters());
  for (const Node& node : graph.nodes()) {
    if (node.op == nullptr) {
      result.push_back({node.name, "input", node.shape, 0, 0, 0});
      continue;
    }
    NodeCost cost{node.name, std::string(node.op->kind()), node.shape, 0, 0, 0};
    bool by_parameter = false;
    for (const int index : node.parameters) {
      const Parameter& parameter = graph.parameters()[index];
      if (parameter.trainable) cost.parameters += element_count(parameter.shape);
      by_parameter = by_parameter || parameter.is_trained();
    }
    std::vector<Shape> inputs;
    bool by_input = false;  // whether a gradient is passed on
    for (const int input : node.inputs) {
      inputs.push_back(graph.nodes()[input].shape);
      by_input = by_input || needed[input];
    }
    const auto& op = dynamic_cast<const lowering::LowerableOp&>(*node.op);
    cost.forward_flops = op.flops(inputs, node.shape);
    const int backward_passes = op.has_weights() ? int{by_input} + int{by_parameter} : int{by_input || by_parameter};
    cost.training_flops = cost.forward_flops * (1 + backward_passes);
    result.push_back(std::move(cost));
  }
  return result;
}

}  // namespace facet::program
