#include "program/passes.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "lowering/lowering.h"
#include "ops/fusion.h"
#include "program/program.h"

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

/// Fuses a batch normalisation that is read by `add` alone into it; the fused node is in the place of the add.
void take_batch_norm(FusedNodes& fused, Node& add) {
  for (const int side : {0, 1}) {
    const int before = add.inputs[side];
    const Node& producer = fused.nodes[before];
    if (producer.op == nullptr || fused.reads[before] != 1) continue;
    if (auto op = ops::fuse(*producer.op, {.residual = true})) {
      fused.gone[before] = true;
      add = {std::move(op), producer.name, {producer.inputs[0], add.inputs[1 - side]}, producer.parameters, add.shape};
      return;
    }
  }
}

/// Lets `op` in the place of node `before` compute what node `follower`, its only reader, did too.
void take_follower(FusedNodes& fused, int before, int follower, std::shared_ptr<const graph::Op> op) {
  Node& producer = fused.nodes[before];
  producer.op = std::move(op);
  producer.shape = fused.nodes[follower].shape;
  fused.reads[before] = fused.reads[follower];
  fused.gone[follower] = true;
}

/// Fuses an activation into the node that computes its input, if that has no other reader and can compute it. Returns
/// whether it did.
bool join_producer(FusedNodes& fused, int activation) {
  const kernels::Activation kind = ops::activation_of(*fused.nodes[activation].op);
  if (kind == kernels::Activation::none) return false;
  const int before = fused.nodes[activation].inputs[0];
  const Node& producer = fused.nodes[before];
  if (producer.op == nullptr || fused.reads[before] != 1) return false;
  auto op = ops::fuse(*producer.op, {.activation = kind});
  if (op == nullptr) return false;
  take_follower(fused, before, activation, std::move(op));
  return true;
}

/// Fuses a convolution that is read by `batch_norm` alone into it; the fused node is in the place of the batch
/// normalisation.
void take_convolution(FusedNodes& fused, Node& batch_norm) {
  const int before = batch_norm.inputs[0];
  const Node& producer = fused.nodes[before];
  if (producer.op == nullptr || fused.reads[before] != 1) return;
  auto op = ops::fold_batch_norm(*producer.op, *batch_norm.op);
  if (op == nullptr) return;
  fused.gone[before] = true;
  batch_norm.op = std::move(op);
  batch_norm.name = producer.name;
  batch_norm.inputs[0] = producer.inputs[0];
  batch_norm.parameters.insert(batch_norm.parameters.begin(), producer.parameters.begin(), producer.parameters.end());
}

/// Tells each concat where its output lies: a concat whose value is the first input of another one lies in that one's
/// memory. Of several that begin with the same value, the last one is taken.
void share_storage(FusedNodes& fused) {
  const auto is_concat = [&](int n) { return fused.nodes[n].op != nullptr && ops::is_concat(*fused.nodes[n].op); };
  const auto count = static_cast<int>(fused.nodes.size());
  std::vector<int> continued_by(fused.nodes.size(), -1);
  for (int i = 0; i < count; ++i) {
    const std::vector<int>& inputs = fused.nodes[i].inputs;
    if (is_concat(i) && inputs.size() > 1 && is_concat(inputs[0])) continued_by[inputs[0]] = i;
  }
  for (int i = 0; i < count; ++i) {
    if (!is_concat(i)) continue;
    int last = i;
    while (continued_by[last] >= 0) last = continued_by[last];
    fused.nodes[i].op = ops::with_storage(
        *fused.nodes[i].op,
        {.continues_input = continued_by[fused.nodes[i].inputs[0]] == i, .channels = fused.nodes[last].shape.at(0)});
  }
}

}  // namespace

FusedNodes fuse(const Graph& graph, const std::vector<Parameter>& parameters, bool inference) {
  const std::size_t count = graph.nodes().size();
  FusedNodes result{graph.nodes(), std::vector<bool>(count, false), count_reads(graph)};
  std::vector<int> computed_by(result.nodes.size());
  std::iota(computed_by.begin(), computed_by.end(), 0);
  for (int i = 0; i < static_cast<int>(result.nodes.size()); ++i) {
    Node& node = result.nodes[i];
    for (int& input : node.inputs) input = computed_by[input];
    if (node.op == nullptr) continue;
    if (ops::is_add(*node.op)) take_batch_norm(result, node);
    if (join_producer(result, i)) computed_by[i] = node.inputs[0];
  }
  share_storage(result);
  const std::vector<bool> needed = find_needed_gradients(result.nodes, parameters);
  for (std::size_t i = 0; i < result.nodes.size(); ++i) {
    Node& node = result.nodes[i];
    const bool constant = inference || !needed[i];
    if (constant && node.op != nullptr && !result.gone[i] && !node.inputs.empty()) take_convolution(result, node);
  }
  return result;
}

void fuse_max_pools(FusedNodes& fused, const std::vector<Parameter>& parameters) {
  std::vector<int> computed_by(fused.nodes.size());
  std::iota(computed_by.begin(), computed_by.end(), 0);
  for (int i = 0; i < static_cast<int>(fused.nodes.size()); ++i) {
    Node& node = fused.nodes[i];
    for (int& input : node.inputs) input = computed_by[input];
    if (node.op == nullptr || fused.gone[i]) continue;
    const auto window = ops::max_pool_of(*node.op);
    if (!window || fused.reads[node.inputs[0]] != 1) continue;
    const int before = node.inputs[0];
    const Node& producer = fused.nodes[before];
    const std::vector<int>& own = producer.parameters;
    if (std::none_of(own.begin(), own.end(), [&](int p) { return parameters[p].is_trained(); })) continue;
    auto op = ops::fuse_max_pool(*producer.op, *window);
    if (op == nullptr) continue;
    take_follower(fused, before, i, std::move(op));
    computed_by[i] = before;
  }
}

std::vector<bool> find_needed_gradients(const std::vector<Node>& nodes, const std::vector<Parameter>& parameters) {
  std::vector<bool> needed(nodes.size(), false);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const std::vector<int>& inputs = nodes[i].inputs;
    const std::vector<int>& own = nodes[i].parameters;
    needed[i] = std::any_of(inputs.begin(), inputs.end(), [&](int v) { return needed[v]; }) ||
                std::any_of(own.begin(), own.end(), [&](int p) { return parameters[p].is_trained(); });
  }
  return needed;
}

}  // namespace facet::program
