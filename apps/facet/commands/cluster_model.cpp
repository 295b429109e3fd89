#include "commands/cluster_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace facet::app {

NodeStep between(const NodeStep& from, const NodeStep& to, double share) {
  NodeStep step = from;
  step.seconds = std::lerp(from.seconds, to.seconds, share);
  for (std::size_t i = 0; i < step.buckets.size(); ++i) {
    step.buckets[i].ready = std::lerp(from.buckets[i].ready, to.buckets[i].ready, share);
    step.buckets[i].needed = std::lerp(from.buckets[i].needed, to.buckets[i].needed, share);
  }
  return step;
}

ClusterStep predict_step(const NodeStep& node, const Network& network, std::int64_t nodes) {
  const auto others = static_cast<double>(nodes - 1);
  const auto exchange_time = [&](double bytes) {
    return others * (network.latency + bytes / static_cast<double>(nodes) / network.bytes_per_s);
  };

  /// Something that happens in the step of a node alone.
  struct Event {
    double time;
    bool is_ready;  ///< else forward needs the bucket
    std::size_t bucket;
  };
  std::vector<Event> events;
  double last_ready = 0;
  for (std::size_t i = 0; i < node.buckets.size(); ++i) {
    events.push_back({node.buckets[i].needed, false, i});
    events.push_back({node.buckets[i].ready, true, i});
    last_ready = std::max(last_ready, node.buckets[i].ready);
  }
  std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
    return std::tie(a.time, a.is_ready) < std::tie(b.time, b.is_ready);
  });

  ClusterStep step;
  double link_free = 0;
  std::vector<double> gathered(node.buckets.size());
  for (const Event& event : events) {
    if (event.is_ready) continue;
    link_free += exchange_time(node.buckets[event.bucket].gathered_bytes);
    gathered[event.bucket] = link_free;
  }
  step.communication = link_free;
  for (const Event& event : events) {
    const double now = event.time + step.waited;
    if (event.is_ready) {
      const double taken = exchange_time(node.buckets[event.bucket].reduced_bytes);
      link_free = std::max(link_free, now) + taken;
      step.communication += taken;
    } else {
      step.waited += std::max(0.0, gathered[event.bucket] - now);
    }
  }
  step.waited += std::max(0.0, link_free - (last_ready + step.waited));
  step.seconds = node.seconds + step.waited;
  return step;
}

namespace {

/// The step with this greatest share of a rank; empty where it isn't between two that are measured.
std::optional<NodeStep> step_of_share(const std::vector<NodeResult>& measured, std::int64_t share) {
  const auto above = std::find_if(measured.begin(), measured.end(),
                                  [&](const NodeResult& result) { return result.batch_per_rank() >= share; });
  if (above == measured.end()) return std::nullopt;
  if (above->batch_per_rank() == share) return above->step;
  if (above == measured.begin()) return std::nullopt;
  const auto low = static_cast<double>((above - 1)->batch_per_rank());
  const auto high = static_cast<double>(above->batch_per_rank());
  return between((above - 1)->step, above->step, (static_cast<double>(share) - low) / (high - low));
}

std::int64_t divide_up(std::int64_t number, std::int64_t by) { return (number + by - 1) / by; }

/// "25 images" or "5 to 25 images", of a rank.
std::string shares_text(const std::vector<NodeResult>& measured) {
  const std::int64_t low = measured.front().batch_per_rank(), high = measured.back().batch_per_rank();
  return low == high ? fmt::format("{} images", high) : fmt::format("{} to {} images", low, high);
}

}  // namespace

Prediction predict(const ClusterPlan& plan, std::int64_t nodes) {
  Prediction prediction;
  prediction.nodes = nodes;
  prediction.batch = plan.is_weak() ? plan.node.batch * nodes : plan.batch;
  prediction.batch_per_rank = divide_up(prediction.batch, nodes * plan.node.ranks);
  std::optional<NodeStep> step;
  if (prediction.batch < nodes * plan.node.ranks) {
    prediction.missing = "there is no image for each rank";
  } else if (prediction.batch > plan.images) {
    prediction.missing = "a step has more images than an epoch";
  } else {
    step = plan.is_weak() ? plan.node.step : step_of_share(plan.measured, prediction.batch_per_rank);
    if (!step) {
      prediction.missing = fmt::format("a rank has other than the {} that are measured", shares_text(plan.measured));
    }
  }
  if (!step) return prediction;
  prediction.step = predict_step(*step, plan.network, nodes);
  prediction.images_per_s = static_cast<double>(prediction.batch) / prediction.step->seconds;
  prediction.efficiency = prediction.images_per_s / (static_cast<double>(nodes) * plan.node.images_per_s());
  const auto steps = static_cast<double>(divide_up(plan.images, prediction.batch));
  prediction.hours = static_cast<double>(plan.epochs) * steps * prediction.step->seconds / 3600;
  return prediction;
}

std::optional<std::int64_t> nodes_for(const ClusterPlan& plan, double images_per_s) {
  // The nodes that are too many for a step have the most images/s, in this search.
  const auto suffices = [&](std::int64_t nodes) {
    const Prediction prediction = predict(plan, nodes);
    return !prediction.step || prediction.images_per_s >= images_per_s;
  };
  std::int64_t enough = 1;
  while (!suffices(enough)) {
    if (enough >= most_nodes) return std::nullopt;
    enough = std::min(2 * enough, most_nodes);
  }
  for (std::int64_t too_few = enough / 2; enough - too_few > 1;) {
    const std::int64_t middle = too_few + (enough - too_few) / 2;
    (suffices(middle) ? enough : too_few) = middle;
  }
  return predict(plan, enough).step ? std::optional(enough) : std::nullopt;
}

std::optional<Worth> worth_up_to(const ClusterPlan& plan) {
  std::optional<Worth> worth;
  double before = 0;
  for (std::int64_t nodes = 1; nodes <= most_nodes; nodes *= 2) {
    const Prediction now = predict(plan, nodes);
    if (!worth && !now.step) continue;
    if (!worth) {
      worth.emplace(Worth{.first = nodes, .last = nodes});
    } else if (!now.step) {
      worth->missing = now.missing;
      break;
    } else if (now.images_per_s < plan.worth * before) {
      worth->gain = now.images_per_s / before;
      break;
    } else {
      worth->last = nodes;
    }
    before = now.images_per_s;
  }
  if (worth && worth->last == worth->first && !worth->gain) return std::nullopt;
  return worth;
}

}  // namespace facet::app
