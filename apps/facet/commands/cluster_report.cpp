#include "commands/cluster_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/terminal.h"
#include "facet/text.h"

namespace facet::app {
namespace {

/// Up to how many nodes doubling them pays.
std::string worth_text(const ClusterPlan& plan) {
  const std::optional<Worth> worth = worth_up_to(plan);
  if (!worth) return "no doubling of the nodes is predicted";
  std::string text = worth->first > 1 ? fmt::format("from {} nodes on, ", grouped(worth->first)) : "";
  text += "up to " + counted(worth->last, "node");
  const std::string next = grouped(2 * worth->last);
  if (worth->gain) {
    return text + fmt::format(": doubling to {} gives {:.2f} times the images/s; --worth is {}", next, *worth->gain,
                              plan.worth);
  }
  text += " at least";
  return worth->missing.empty() ? text : text + fmt::format("; {} aren't predicted: {}", next, worth->missing);
}

std::vector<std::string> assumptions(const ClusterPlan& plan) {
  std::vector<std::string> texts{
      "all nodes are like the measured one and equally fast; the time for loading images, validation and checkpoints "
      "isn't counted",
      "within a node, the step takes the time measured there, in which its ranks exchange in memory and wait for each "
      "other; the threads that exchange between nodes slow nothing down",
      "each node has one link, as fast in both directions at once, whatever the others send: no switch is "
      "oversubscribed, and --network is what MPI reaches, not the link's nominal rate",
      fmt::format(
          "of each bucket a node sends 1/n to each of the n - 1 other nodes, one message after another, each in "
          "latency + bytes / bandwidth; in fact each of its {} ranks sends a message of its own to each other "
          "node, all of a bucket at once, so that latencies overlap while the messages are more",
          plan.node.ranks),
      "the sums take no extra time: neither that over the ranks of a node, which comes before sending, nor adding what "
      "other nodes send; the small exchanges of each step (losses, errors, statistics) aren't counted",
      "gradients of a bucket are sent once they are ready, one bucket after another, and the update waits for all; "
      "weights are sent from the update's end on, and forward waits for those it needs"};
  texts.emplace_back(plan.is_weak()
                         ? "every node keeps its batch, so that a step's batch grows with the nodes; whether the model "
                           "learns as well by fewer, larger steps is not predicted"
                         : "the ranks of all nodes share the images of a step evenly, and the largest share sets the "
                           "pace; a step between two measured ones lies on the line between them, and nothing is "
                           "extrapolated");
  texts.emplace_back("an epoch's last step counts as a whole one");
  return texts;
}

std::string hours_text(double hours) { return fmt::format("{:.{}f}", hours, hours < 10 ? 2 : 1); }

}  // namespace

std::vector<std::string> missing_texts(const std::vector<Prediction>& rows) {
  std::vector<std::string> reasons, texts;
  for (const Prediction& row : rows) {
    const bool is_new = std::find(reasons.begin(), reasons.end(), row.missing) == reasons.end();
    if (!row.step && is_new) reasons.push_back(row.missing);
  }
  for (const std::string& reason : reasons) {
    std::vector<std::int64_t> nodes;
    for (const Prediction& row : rows) {
      if (!row.step && row.missing == reason) nodes.push_back(row.nodes);
    }
    texts.push_back(
        fmt::format("{} node{}: {}", fmt::join(nodes, ", "), nodes == std::vector<std::int64_t>{1} ? "" : "s", reason));
  }
  return texts;
}

std::string plan_text(const ClusterPlan& plan, const std::vector<Prediction>& rows) {
  const NodeResult& node = plan.node;
  double gradients = 0, weights = 0;
  for (const NodeBucket& bucket : node.step.buckets) {
    gradients += bucket.reduced_bytes;
    weights += bucket.gathered_bytes;
  }
  std::string text =
      fmt::format("node         {} of {}: {} ranks of {}{}\n", node.name.empty() ? "-" : printable(node.name),
                  printable(node.origin), node.ranks, counted(node.threads, "thread"),
                  node.device.empty() ? "" : ", " + printable(node.device));
  text += fmt::format("step         {}: {:.1f} ms for {}, {:.1f} images/s\n", printable(node.workload()),
                      node.step.seconds * 1e3, counted(node.batch, "image"), node.images_per_s());
  text += fmt::format("exchanged    {} of gradients ({}) and {} of weights, in {}\n", bytes_text(gradients),
                      plan.reduces_bf16 ? "bf16" : "f32", bytes_text(weights),
                      counted(static_cast<std::int64_t>(node.step.buckets.size()), "bucket"));
  text += fmt::format("network      {}/s each way, {:g} us\n", bytes_text(plan.network.bytes_per_s),
                      plan.network.latency * 1e6);
  text += fmt::format("training     {} of {}, {}\n\n", counted(plan.epochs, "epoch"), counted(plan.images, "image"),
                      plan.is_weak() ? fmt::format("{} per node and step (weak scaling)", counted(node.batch, "image"))
                                     : fmt::format("{} per step (strong scaling)", counted(plan.batch, "image")));
  Table table({{"nodes", true},
               {"ranks", true},
               {"batch", true},
               {"per rank", true},
               {"ms/step", true},
               {"communication ms", true},
               {"hidden", true},
               {"images/s", true},
               {"efficiency", true},
               {"hours", true}});
  for (const Prediction& row : rows) {
    std::vector<std::string> cells{grouped(row.nodes), grouped(row.nodes * node.ranks), grouped(row.batch),
                                   grouped(row.batch_per_rank)};
    if (row.step) {
      const std::optional<double> hidden = row.step->hidden();
      cells.insert(cells.end(), {fmt::format("{:.1f}", row.step->seconds * 1e3),
                                 hidden ? fmt::format("{:.1f}", row.step->communication * 1e3) : "-",
                                 hidden ? percent(*hidden) : "-", fmt::format("{:.1f}", row.images_per_s),
                                 percent(row.efficiency), hours_text(row.hours)});
    } else {
      cells.resize(10, "-");
    }
    table.add(std::move(cells));
  }
  text += table.text();
  for (const std::string& missing : missing_texts(rows)) text += "not predicted for " + missing + '\n';
  text += fmt::format("\nworth it     {}\n\nAssumptions:\n", worth_text(plan));
  for (const std::string& assumption : assumptions(plan)) text += "- " + assumption + "\n";
  return text;
}

std::string plan_json(const ClusterPlan& plan, const std::vector<Prediction>& rows) {
  const NodeResult& node = plan.node;
  nlohmann::ordered_json json;
  json["node"] = {{"origin", printable(node.origin)},
                  {"name", node.name},
                  {"model", node.model},
                  {"size", node.size},
                  {"precision", node.precision},
                  {"device", node.device},
                  {"ranks", node.ranks},
                  {"threads", node.threads},
                  {"batch", node.batch},
                  {"step_ms", node.step.seconds * 1e3},
                  {"images_per_s", node.images_per_s()}};
  json["scaling"] = plan.is_weak() ? "weak" : "strong";
  json["reduce"] = plan.reduces_bf16 ? "bf16" : "f32";
  json["network"] = {{"bytes_per_s", plan.network.bytes_per_s}, {"latency_us", plan.network.latency * 1e6}};
  json["images"] = plan.images;
  json["epochs"] = plan.epochs;
  for (const Prediction& row : rows) {
    nlohmann::ordered_json object{{"nodes", row.nodes},
                                  {"ranks", row.nodes * node.ranks},
                                  {"batch", row.batch},
                                  {"batch_per_rank", row.batch_per_rank}};
    if (row.step) {
      object["step_ms"] = row.step->seconds * 1e3;
      object["communication_ms"] = row.step->communication * 1e3;
      object["waited_ms"] = row.step->waited * 1e3;
      if (const std::optional<double> hidden = row.step->hidden()) object["hidden"] = *hidden;
      object["images_per_s"] = row.images_per_s;
      object["efficiency"] = row.efficiency;
      object["hours"] = row.hours;
    } else {
      object["not_predicted"] = row.missing;
    }
    json["clusters"].push_back(std::move(object));
  }
  const std::optional<Worth> worth = worth_up_to(plan);
  json["worth"] = plan.worth;
  json["worth_from"] = worth ? nlohmann::ordered_json(worth->first) : nullptr;
  json["worth_up_to"] = worth ? nlohmann::ordered_json(worth->last) : nullptr;
  json["assumptions"] = assumptions(plan);
  return json.dump(2) + '\n';
}

}  // namespace facet::app
