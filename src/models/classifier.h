#pragma once

#include <string_view>

#include "facet/models.h"
#include "facet/ops.h"

namespace facet {

/// The image that a model looks at.
/// @throws Error naming the model when the size is below `least`, or when there is no head, or one
/// whose name or a class's is empty or another's.
Value image(Graph& graph, std::string_view model, const ModelOptions& options, int least = 1);

/// What stands for a paper's last layer: a linear layer `heads.NAME` and its loss for each head.
/// @param layer how the layers are initialised.
void add_heads(Value features, const ModelOptions& options, LinearOptions layer = {});

}  // namespace facet
