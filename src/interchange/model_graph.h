#pragma once

#include "facet/graph.h"
#include "facet/model_file.h"

namespace facet::interchange {

/// @throws Error naming the first thing in which the graph isn't what `info` says: the input's size, a head's name, the
///   number of its classes.
void require_graph(const ModelInfo& info, const Graph& graph);

}  // namespace facet::interchange
