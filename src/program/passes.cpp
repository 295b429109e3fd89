#include "program/passes.h"

#include <algorithm>
#include <numeric>

#include "ops/add.h"
#include "ops/batch_norm.h"
#include "ops/relu.h"

namespace facet::program {

namespace {

std::vector<int> count_reads(const Graph& graph) {
  std::vector<int> reads(graph.nodes().size(), 0);
  for (const Node& node : graph.nodes()) {
    for (const int input : node.inputs) ++reads[input];
  }
  for (const HeadOutput& head : graph.heads()) ++reads[head.logits];
  return reads;
}

std::shared_ptr<const Op> with_relu(const Op& op) {
  if (auto fused = with_relu_after_batch_norm(op)) return fused;
  return with_relu_after_add(op);
}

}  // namespace

FusedNodes fuse(const Graph& graph) {
  FusedNodes result{graph.nodes(), std::vector<bool>(graph.nodes().size(), false), count_reads(graph)};
  std::vector<int> computed_by(result.nodes.size());
  std::iota(computed_by.begin(), computed_by.end(), 0);
  for (std::size_t i = 0; i < result.nodes.size(); ++i) {
    Node& node = result.nodes[i];
    for (int& input : node.inputs) input = computed_by[input];
    if (node.op == nullptr || !is_relu(*node.op)) continue;
    const int before = node.inputs[0];
    Node& producer = result.nodes[before];
    if (producer.op == nullptr || result.reads[before] != 1) continue;
    if (auto fused = with_relu(*producer.op)) {
      producer.op = std::move(fused);
      computed_by[i] = before;
      result.reads[before] = result.reads[i];
      result.gone[i] = true;
    }
  }
  return result;
}

std::vector<bool> find_needed_gradients(const std::vector<Node>& nodes, const std::vector<Parameter>& parameters) {
  std::vector<bool> needed(nodes.size(), false);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const std::vector<int>& inputs = nodes[i].inputs;
    const std::vector<int>& own = nodes[i].parameters;
    needed[i] = std::any_of(inputs.begin(), inputs.end(), [&](int v) { return needed[v]; }) ||
                std::any_of(own.begin(), own.end(), [&](int p) { return parameters[p].trainable; });
  }
  return needed;
}

}  // namespace facet::program
