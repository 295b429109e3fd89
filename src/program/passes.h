#pragma once

#include <cstddef>
#include <vector>

#include "facet/graph.h"
#include "program/compiled.h"
#include "program/memory.h"

namespace facet::program {

/// The nodes of a graph after fusion: a fused node computes what several nodes did, and the others are gone.
struct FusedNodes {
  std::vector<Node> nodes;
  std::vector<bool> gone;  ///< by node: whether it was fused into another one
  std::vector<int> reads;  ///< by node: how many readers its value has; a head's logits count one more
};

/// Fuses batch_norm + add, batch_norm (+ add) + relu or relu6, and add + relu into one node each, where nothing else
/// reads the values in between. Also fuses a convolution and the batch_norm after it, in inference, and in training
/// where neither they nor what is before them is trained. Concats that each begin with the one before share one tensor.
FusedNodes fuse(const Graph& graph, const std::vector<Parameter>& parameters, bool inference);

/// Fuses each max_pool into the batch_norm (+ relu or relu6) before it that alone computes what it reads, where that
/// normalises by the batch's statistics: in training, where its weight or its bias is trained.
void fuse_max_pools(FusedNodes& fused, const std::vector<Parameter>& parameters);

/// By node: whether its value depends on a parameter that is trained, so that its gradient is needed.
std::vector<bool> find_needed_gradients(const std::vector<Node>& nodes, const std::vector<Parameter>& parameters);

/// Lets backward run recomputable forward instructions again, in front of the first backward instruction that reads
/// what they write, so that their results need not be kept until then. It chooses those that lower the peak of live
/// memory. The names of the repeated instructions end in ".recompute". All other instructions, and all values, stay as
/// they are.
/// @param forward_instructions the number of forward instructions, which come first.
void recompute(Compiled& compiled, std::size_t forward_instructions);

}  // namespace facet::program
