#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace facet::app {

// How training scales over the nodes of a cluster, from the step that one node has measured and a model of the network.

/// A bucket of gradients within a node's step. Times are in seconds from the beginning of the step.
struct NodeBucket {
  double reduced_bytes = 0;   ///< of its gradients, as they are sent
  double gathered_bytes = 0;  ///< of its weights
  double ready = 0;           ///< its gradients are complete
  double needed = 0;          ///< forward first reads its weights
};

/// A training step of one node.
struct NodeStep {
  double seconds = 0;
  std::vector<NodeBucket> buckets;
};

/// The step between two: with share 0 it is `from`, with 1 `to`. @param to has as many buckets, of the same bytes.
NodeStep between(const NodeStep& from, const NodeStep& to, double share);

/// The alpha-beta model: a message of n bytes takes latency + n / bytes_per_s.
struct Network {
  double bytes_per_s = 0;  ///< of a node's link, in each direction at once
  double latency = 0;      ///< of a message, in seconds
};

/// A training step of several nodes, in seconds.
struct ClusterStep {
  double seconds = 0;
  double communication = 0;  ///< how long a node's link is busy
  double waited = 0;         ///< of the step: computation waits for the network

  /// The share of the communication that doesn't lengthen the step; empty where nothing is exchanged.
  std::optional<double> hidden() const {
    if (communication <= 0) return std::nullopt;
    return std::clamp(1 - waited / communication, 0.0, 1.0);
  }
};

/// Predicts the step of equal nodes, which exchange directly. A bucket's gradients are reduce-scattered, and its
/// weights all-gathered, by one message from each node to each other one; those of a node go over its link one after
/// another, each in latency + bytes / nodes / bytes_per_s. The link serves one bucket after another: from the step's
/// beginning on the weights, in the order in which forward needs them, then each bucket's gradients once they are
/// ready. Forward waits for weights that haven't come. After the last bucket is ready, the rest of the step (the
/// update) waits until all gradients are reduced.
ClusterStep predict_step(const NodeStep& node, const Network& network, std::int64_t nodes);

/// A training step of several ranks on one host, as bench_scaling measures it.
struct NodeResult {
  std::string origin;  ///< the file and the line, as in "scaling.json:2"
  std::string name;    ///< "weak 4x2"
  std::string model, size, precision, device;
  std::string reduce;                              ///< the type in which gradients are sent between hosts: f32 or bf16
  std::int64_t ranks = 0, threads = 0, batch = 0;  ///< threads of each rank; images of all
  NodeStep step;                                   ///< the median, and no bucket's time after its end

  /// Such as "reference 224 bf16".
  std::string workload() const { return model + ' ' + size + ' ' + precision; }
  /// The greatest share of a rank, which sets the pace of all.
  std::int64_t batch_per_rank() const { return (batch + ranks - 1) / ranks; }
  double images_per_s() const { return static_cast<double>(batch) / step.seconds; }
};

constexpr std::int64_t most_nodes = 1'000'000;

/// What is to be predicted.
struct ClusterPlan {
  NodeResult node;                   ///< what each node is, and in weak scaling its step
  std::vector<NodeResult> measured;  ///< its steps with all batches, in strong scaling; by batch_per_rank()
  Network network;
  bool reduces_bf16 = false;
  std::vector<std::int64_t> nodes;  ///< ascending
  std::int64_t images = 0, epochs = 0;
  std::int64_t batch = 0;  ///< of all nodes, in strong scaling; 0: weak scaling
  double worth = 0;        ///< the least gain of images/s by which doubling the nodes pays

  bool is_weak() const { return batch == 0; }
};

/// What is predicted for a number of nodes.
struct Prediction {
  std::int64_t nodes = 0, batch = 0;
  std::int64_t batch_per_rank = 0;  ///< the greatest share: the ranks of all nodes share the batch evenly
  std::optional<ClusterStep> step;
  std::string missing;  ///< why there is no step: "a step has more images than an epoch"; the numbers below are 0 then
  double images_per_s = 0;
  double efficiency = 0;  ///< images/s over nodes times those of one node as measured
  double hours = 0;       ///< of all epochs
};

/// Predicts training on some nodes, of --nodes or not.
Prediction predict(const ClusterPlan& plan, std::int64_t nodes);

/// The smallest number of nodes that train at `images_per_s` or faster, of plan.nodes or not; empty where none does.
std::optional<std::int64_t> nodes_for(const ClusterPlan& plan, double images_per_s);

/// Up to how many nodes doubling them pays, whatever --nodes says.
struct Worth {
  std::int64_t first = 0;           ///< the smallest of 1, 2, 4 and so on nodes that is predicted
  std::int64_t last = 0;            ///< each doubling from `first` to these gains ClusterPlan::worth at least
  std::optional<double> gain = {};  ///< of doubling once more, which gains less; empty where that isn't predicted
  std::string missing = {};         ///< why it isn't; empty at the limit of most_nodes
};

/// Empty where no doubling is predicted.
std::optional<Worth> worth_up_to(const ClusterPlan& plan);

}  // namespace facet::app
