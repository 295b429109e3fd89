#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "facet/export.h"
#include "facet/graph.h"
#include "facet/tensor_types.h"

// What a model costs: parameters and FLOPs by layer, and the memory and the instructions of training it.

namespace facet {

/// The cost of a node of a graph for one image. FLOPs count two per multiply-add. Training counts forward and the
/// gradients that a program computes: those of a convolution or linear layer with respect to its parameters where one
/// is trained, and with respect to its input where that depends on a trained parameter.
struct NodeCost {
  std::string name = {};
  std::string op = {};  ///< "convolution", for example; "input" for the graph's input
  Shape shape = {};     ///< of its output
  std::int64_t parameters = 0;
  double forward_flops = 0, training_flops = 0;
};

/// Returns the cost of each node of a graph, in the graph's order.
FACET_EXPORT std::vector<NodeCost> costs(const Graph& graph);

/// The memory that training a batch needs, in bytes.
struct PlannedMemory {
  std::size_t activations = 0;  ///< including gradients and scratch memory
  std::size_t prepared = 0;     ///< weights in other layouts or types
  std::size_t parameters = 0;   ///< including the optimiser's state
  std::size_t total() const { return activations + prepared + parameters; }
};

/// An instruction of a program.
struct PlannedInstruction {
  std::string name = {};       ///< "block1.conv.forward", for example
  std::string kind = {};       ///< "convolution forward", for example
  std::string primitive = {};  ///< the name in oneDNN's verbose mode, or "facet:" and the name of facet's own kernel
};

/// The memory and the instructions of training a batch.
struct TrainingPlan {
  PlannedMemory memory = {};
  std::vector<PlannedInstruction> instructions = {};  ///< in the order in which they run
};

/// Compiles the instructions of training a batch with Adam. It takes primitives from the tuning cache, and oneDNN's
/// defaults where that has none. Nothing is timed, and memory for activations is planned but not allocated.
/// @param batch images.
/// @param save_memory as TrainOptions::save_memory.
/// @param tuning_cache the folder of the tuning cache (see user_cache_folder); empty: no cache.
/// @throws Error when the precision isn't supported, the batch is below 1, the graph has no head, or memory for the
///   parameters runs out.
FACET_EXPORT TrainingPlan plan_training(const Graph& graph, std::int64_t batch, Precision precision, bool save_memory,
                                        const std::filesystem::path& tuning_cache = {});

}  // namespace facet
