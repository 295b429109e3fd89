#pragma once

#include <string_view>

#include "facet/models.h"
#include "facet/ops.h"

namespace facet {

/// Adds a model's input.
/// @throws Error naming the model when the size is below `min_size`, when there is no head, or when the name of a head
///   or class is empty or duplicate.
Value image(Graph& graph, std::string_view model, const ModelOptions& options, int min_size = 1);

/// Adds a head's last layer, which `layer` names and initialises, and its loss: coral() where the classes are ordered,
/// else linear().
void add_head(Value features, const Head& head, LinearOptions layer);

/// Adds a layer `heads.NAME` and its loss for each head, in place of the last layer of the paper's model.
/// @param layer how the layers are initialised.
void add_heads(Value features, const ModelOptions& options, LinearOptions layer = {});

}  // namespace facet
