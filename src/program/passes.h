#pragma once

#include <cstddef>
#include <vector>

#include "facet/graph.h"
#include "program/compiled.h"
#include "program/memory.h"
#include "program/parameter_store.h"

namespace facet::program {

/// The nodes of a graph after fusion: a fused node computes what several nodes did, and the others are gone.
struct FusedNodes {
  std::vector<Node> nodes;
  std::vector<bool> gone;  ///< by node: whether it was fused into another one
  /// By node: where a concat's value is the first input of another concat, the latter, in whose memory it lies; else
  /// -1. Of several that begin with the same value, it is the last one.
  std::vector<int> continued_by;
  std::vector<int> reads;  ///< by node: how many readers its value has; a head's logits count one more
};

/// Fuses batch_norm + add, batch_norm (+ add) + relu or relu6, and add + relu into one node each, where nothing else
/// reads the values in between. Also fuses a convolution and the batch_norm after it, in inference, and in training
/// where neither they nor what is before them is trained.
FusedNodes fuse(const Graph& graph, const std::vector<Parameter>& parameters, bool inference);

/// By node: whether its value depends on a parameter that is trained, so that its gradient is needed.
std::vector<bool> find_needed_gradients(const std::vector<Node>& nodes, const std::vector<Parameter>& parameters);

/// Lets backward run recomputable forward instructions again, in front of the first backward instruction that reads
/// what they write, so that their results need not be kept until then. It chooses those that lower the peak of live
/// memory. The names of the repeated instructions end in ".recompute". All other instructions, and all values, stay as
/// they are.
/// @param forward_instructions the number of forward instructions, which come first.
void recompute(Compiled& compiled, std::size_t forward_instructions);

/// Adapts a program that was compiled before the first training program changed the parameters' layouts, so that it
/// reads the parameters in their new layouts. Its buffers must be bound again.
/// @param memory provides the copies of parameters that the program can no longer read in place.
void follow_layouts(Compiled& compiled, const Parameters::State& parameters, PreparedMemory& memory);

}  // namespace facet::program
