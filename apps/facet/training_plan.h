#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "facet/graph.h"
#include "facet/tensor_types.h"
#include "program/program.h"

namespace facet::app {

/// Bytes that training a batch takes.
struct PlannedMemory {
  std::size_t activations = 0;  ///< and gradients and scratch
  std::size_t prepared = 0;     ///< weights in other layouts or types
  std::size_t parameters = 0;   ///< with the optimiser's state
  std::size_t total() const { return activations + prepared + parameters; }
};

/// What training a batch with Adam would come to.
struct TrainingPlan {
  PlannedMemory memory;
  std::vector<program::StepInfo> steps;
};

/// Compiles the steps of training a batch, with the primitives that the choice cache knows and oneDNN's defaults
/// elsewhere; nothing is timed, and activations are planned only.
TrainingPlan plan_training(const Graph& graph, std::int64_t batch, Precision precision, bool save_memory,
                           const std::filesystem::path& choice_cache);

}  // namespace facet::app
