#pragma once

#include <string>
#include <vector>

#include "cli/options.h"
#include "commands/cluster_model.h"

namespace facet::app {

// What a cluster's nodes and their network are: the options that describe them, and the node of a plan.

Option network_option();
/// Reads --network, such as "100Gb/s,2us". @throws UsageError.
Network read_network(const Options& options);

/// Reads the results of bench_scaling in the files of the option `name`. @throws UsageError and Error; also where they
/// are of several workloads or machines.
std::vector<NodeResult> read_node_results(const Options& options, const std::string& name);

/// Sets the plan's node, the fastest result, and those with other batches on a node of as many ranks and threads.
/// @param reduce the type in which gradients are sent to other nodes, f32 or bf16; empty: that of the results.
void choose_node(ClusterPlan& plan, std::vector<NodeResult> results, const std::string& reduce = "");

}  // namespace facet::app
