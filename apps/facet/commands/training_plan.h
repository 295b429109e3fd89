#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "facet/graph.h"
#include "facet/tensor_types.h"
#include "program/program.h"

namespace facet::app {

/// Bytes of memory that training a batch needs.
struct PlannedMemory {
  std::size_t activations = 0;  ///< including gradients and scratch memory
  std::size_t prepared = 0;     ///< weights in other layouts or types
  std::size_t parameters = 0;   ///< including the optimiser's state
  std::size_t total() const { return activations + prepared + parameters; }
};

/// The memory and the instructions of training a batch with Adam.
struct TrainingPlan {
  PlannedMemory memory;
  std::vector<program::InstructionInfo> instructions;
};

/// Compiles the instructions of training a batch. It takes primitives from the tuning cache, and oneDNN's defaults
/// where that has none. Nothing is timed, and memory for activations is planned but not allocated.
TrainingPlan plan_training(const Graph& graph, std::int64_t batch, Precision precision, bool save_memory,
                           const std::filesystem::path& tuning_cache);

}  // namespace facet::app
