#pragma once

#include <string_view>
#include <vector>

#include "facet/data.h"
#include "facet/graph.h"
#include "facet/model_file.h"

namespace facet::inference {

/// @param whose what messages call `found`: "the training set".
/// @throws Error naming the first head, or class of a head, in which `found` isn't `expected`, and both values.
void require_heads(const std::vector<Head>& expected, const std::vector<Head>& found, std::string_view whose);

/// @throws Error naming the first thing in which the graph isn't what `info` says: the input's size, a head's name, the
///   number of its classes.
void require_graph(const ModelInfo& info, const Graph& graph);

}  // namespace facet::inference
