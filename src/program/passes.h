#pragma once

#include <vector>

#include "facet/graph.h"

namespace facet::program {

/// A graph's nodes as a program computes them: some do what several did, and those stand empty.
struct FusedNodes {
  std::vector<Node> nodes;
  std::vector<bool> gone;  ///< by node: another computes its value
  /// By node: the concat that begins with it, where it is a concat too and lies in that one's memory; else -1. Of many
  /// that begin with one the last.
  std::vector<int> continued_by;
  std::vector<int> reads;  ///< by node: how many readers its value has; a head's logits count one more
};

/// batch_norm + add, batch_norm (+ add) + relu or relu6 and add + relu become one node each, where nothing else reads
/// what is between them; in inference, and where neither it nor what is before it is trained, a convolution takes in
/// the batch_norm after it.
FusedNodes fuse(const Graph& graph, const std::vector<Parameter>& parameters, bool inference);

/// By node: whether its value depends on a parameter that is trained, so that its gradient is needed.
std::vector<bool> find_needed_gradients(const std::vector<Node>& nodes, const std::vector<Parameter>& parameters);

}  // namespace facet::program
