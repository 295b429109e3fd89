#pragma once

#include "facet/graph.h"
#include "program/choices.h"
#include "program/program.h"

namespace facet::train {

/// Seconds of a training step, the fastest of a few, on parameters and memory of its own that are gone afterwards. Call
/// inside a base::ComputeScope.
/// @param choices takes what tuning chose.
double step_seconds(const Graph& graph, const program::ProgramOptions& options, program::Choices& choices);

}  // namespace facet::train
