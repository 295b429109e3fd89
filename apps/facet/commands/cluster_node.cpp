#include "commands/cluster_node.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <tuple>

#include "commands/benchmark_results.h"
#include "facet/error.h"

namespace facet::app {

Option network_option() {
  return {.name = "network",
          .argument = "BANDWIDTH,LATENCY",
          .help =
              "bandwidth of a node's link in each direction, in Gb/s, Mb/s, GB/s or MB/s, and time of an empty "
              "message, in ns, us or ms, such as 100Gb/s,2us"};
}

Network read_network(const Options& options) {
  struct Unit {
    std::string_view name;
    double factor;
  };
  constexpr std::array<Unit, 4> bandwidths{{{"Gb/s", 1e9 / 8}, {"Mb/s", 1e6 / 8}, {"GB/s", 1e9}, {"MB/s", 1e6}}};
  constexpr std::array<Unit, 3> times{{{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}}};
  const std::string text = options.required("network");
  const auto read = [](const std::string& word, const auto& units) {
    for (const Unit& unit : units) {
      if (!word.ends_with(unit.name)) continue;
      try {
        return parse_number(word.substr(0, word.size() - unit.name.size()), "") * unit.factor;
      } catch (const UsageError&) {
        return -1.0;
      }
    }
    return -1.0;
  };
  const std::size_t comma = std::min(text.find(','), text.size());
  const Network network{read(text.substr(0, comma), bandwidths),
                        read(text.substr(std::min(comma + 1, text.size())), times)};
  if (!(network.bytes_per_s >= 1 && network.bytes_per_s <= 1e18 && network.latency >= 0 && network.latency <= 3600)) {
    throw UsageError(
        fmt::format("{} is '{}'; BANDWIDTH,LATENCY is needed, such as 100Gb/s,2us: in Gb/s, Mb/s, GB/s or MB/s, and in "
                    "ns, us or ms",
                    options.origin("network"), text));
  }
  return network;
}

std::vector<NodeResult> read_node_results(const Options& options, const std::string& name) {
  options.required(name);
  std::vector<NodeResult> results;
  std::set<std::string> workloads;
  for (const std::string& file : options.list(name)) {
    for (NodeResult& result : read_node_results(file)) {
      workloads.insert(result.workload() + (result.device.empty() ? "" : " on " + result.device));
      results.push_back(std::move(result));
    }
  }
  if (workloads.size() > 1) {
    throw Error(fmt::format("{} has results of {}; those of one model, size and precision on one CPU are needed",
                            options.origin(name), fmt::join(workloads, "; ")));
  }
  return results;
}

void choose_node(ClusterPlan& plan, std::vector<NodeResult> results, const std::string& reduce) {
  plan.node = *std::max_element(results.begin(), results.end(), [](const NodeResult& a, const NodeResult& b) {
    return a.images_per_s() < b.images_per_s();
  });
  std::erase_if(results, [&](const NodeResult& result) {
    return std::tie(result.ranks, result.threads) != std::tie(plan.node.ranks, plan.node.threads);
  });
  std::stable_sort(results.begin(), results.end(), [](const NodeResult& a, const NodeResult& b) {
    return std::tuple(a.batch_per_rank(), -a.images_per_s()) < std::tuple(b.batch_per_rank(), -b.images_per_s());
  });
  const auto repeated = std::unique(results.begin(), results.end(), [](const NodeResult& a, const NodeResult& b) {
    return a.batch_per_rank() == b.batch_per_rank();
  });
  results.erase(repeated, results.end());
  plan.measured = std::move(results);
  plan.reduces_bf16 = (reduce.empty() ? plan.node.reduce : reduce) == "bf16";
  if (!plan.reduces_bf16) return;
  const auto halve = [](NodeResult& result) {
    for (NodeBucket& bucket : result.step.buckets) bucket.reduced_bytes /= 2;
  };
  halve(plan.node);
  std::for_each(plan.measured.begin(), plan.measured.end(), halve);
}

}  // namespace facet::app
