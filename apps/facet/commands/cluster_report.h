#pragma once

#include <string>
#include <vector>

#include "commands/cluster_model.h"

namespace facet::app {

/// What isn't predicted, and why, such as "1, 20 nodes: a step has more images than an epoch"; a text for each reason.
std::vector<std::string> missing_texts(const std::vector<Prediction>& rows);

/// What `facet plan-cluster` prints: the node, the network, a table of the predictions, up to how many nodes adding
/// more pays, and the assumptions.
std::string plan_text(const ClusterPlan& plan, const std::vector<Prediction>& rows);

/// The same as JSON.
std::string plan_json(const ClusterPlan& plan, const std::vector<Prediction>& rows);

}  // namespace facet::app
