#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "cli/command.h"
#include "cli/output_file.h"
#include "cli/terminal.h"
#include "commands/cluster_node.h"
#include "commands/cluster_report.h"
#include "facet/error.h"

namespace facet::app {
namespace {

/// Reads numbers, and ranges in which each is twice the one before, such as "2..16,24". Returns them ascending.
/// @throws UsageError.
std::vector<std::int64_t> read_nodes(const Options& options) {
  std::set<std::int64_t> nodes;
  for (const std::string& word : options.words("nodes")) {
    const std::size_t dots = word.find("..");
    const auto parse = [&](const std::string& number, std::int64_t low) {
      return parse_integer(number, fmt::format("'{}' of {}", word, options.origin("nodes")), low, most_nodes);
    };
    const std::int64_t first = parse(word.substr(0, dots), 1);
    const std::int64_t last = dots == std::string::npos ? first : parse(word.substr(dots + 2), first);
    for (std::int64_t count = first; count <= last; count *= 2) nodes.insert(count);
  }
  return {nodes.begin(), nodes.end()};
}

/// Leaves those results whose `member` is that of an option, where it is given. @throws UsageError when none is left.
void choose(std::vector<NodeResult>& results, const Options& options, const char* name,
            std::int64_t NodeResult::*member, std::int64_t low) {
  if (!options.given(name)) return;
  const std::int64_t wanted = options.integer(name, low);
  std::set<std::int64_t> measured;
  for (const NodeResult& result : results) measured.insert(result.*member);
  if (!measured.contains(wanted)) {
    throw UsageError(fmt::format("{} is {}; the results of --bench have {}", options.origin(name), wanted,
                                 fmt::join(measured, ", ")));
  }
  std::erase_if(results, [&](const NodeResult& result) { return result.*member != wanted; });
}

/// @throws Error when two results that a step lies between have other buckets.
void require_equal_buckets(const std::vector<NodeResult>& results) {
  const NodeResult& first = results.front();
  const auto refuse = [&](const NodeResult& other, const std::string& difference) {
    throw Error(
        fmt::format("{}: {} in {}; --batch needs results with equal buckets", other.origin, difference, first.origin));
  };
  for (const NodeResult& other : results) {
    const std::vector<NodeBucket>&buckets = other.step.buckets, &those = first.step.buckets;
    if (buckets.size() != those.size()) {
      refuse(other, fmt::format("\"buckets\" are {}, and {}", buckets.size(), those.size()));
    }
    for (std::size_t i = 0; i < buckets.size(); ++i) {
      const double bytes = buckets[i].reduced_bytes, needed = those[i].reduced_bytes;
      if (bytes != needed) refuse(other, fmt::format("buckets[{}]: \"bytes\" is {:.0f}, and {:.0f}", i, bytes, needed));
    }
  }
}

ClusterPlan read_plan(const Options& options) {
  ClusterPlan plan;
  plan.network = read_network(options);
  plan.nodes = read_nodes(options);
  plan.images = options.integer("images", 1, 1'000'000'000'000);
  plan.epochs = options.integer("epochs", 1, 1'000'000);
  if (options.given("batch")) plan.batch = options.integer("batch", 1, 1'000'000'000);
  plan.worth = parse_number(options.text("worth"), options.origin("worth"));
  if (!(plan.worth > 1 && plan.worth < 2)) {
    throw UsageError(fmt::format("{} is '{}'; a number above 1 and below 2 is needed", options.origin("worth"),
                                 options.text("worth")));
  }
  const std::string reduce = options.given("reduce") ? options.one_of("reduce", {"f32", "bf16"}) : std::string();
  std::vector<NodeResult> results = read_node_results(options, "bench");
  choose(results, options, "ranks", &NodeResult::ranks, 2);
  choose(results, options, "threads", &NodeResult::threads, 1);
  choose_node(plan, std::move(results), reduce);
  if (!plan.is_weak()) require_equal_buckets(plan.measured);
  return plan;
}

int run_plan_cluster(Options& options) {
  require_no_arguments(options);
  require_different_files(options, {"bench", "json"});
  const ClusterPlan plan = read_plan(options);
  std::vector<Prediction> rows;
  for (const std::int64_t nodes : plan.nodes) rows.push_back(predict(plan, nodes));
  if (std::none_of(rows.begin(), rows.end(), [](const Prediction& row) { return row.step.has_value(); })) {
    throw UsageError(fmt::format("nothing is predicted for {}", fmt::join(missing_texts(rows), "; for ")));
  }
  OutputFile file(options.text("json"));
  if (!file.is_standard_output()) print_out("{}", plan_text(plan, rows));
  if (file.wanted()) file.write(plan_json(plan, rows));
  file.commit();
  return 0;
}

}  // namespace

Command plan_cluster_command() {
  Command command;
  command.name = "plan-cluster";
  command.summary = "predict how training scales over the nodes of a cluster";
  command.usage = "--bench FILE --network BANDWIDTH,LATENCY [options]";
  command.description =
      "Predicts images/s, efficiency and hours of training on several nodes, and up to how many nodes adding more "
      "pays: from a step that bench_scaling has measured on one node, and an alpha-beta model of the network between "
      "nodes. It simulates one step: when the gradients of each bucket are ready and when its weights are needed has "
      "been measured, and the time by which the network is late is added. The assumptions are printed below the "
      "table.\n\n"
      "Columns: batch is that of all nodes together, and per rank the largest share of a rank; communication ms is the "
      "time of a step in which a node's link is busy, and hidden the share of the communication that doesn't lengthen "
      "the step; efficiency is images/s over those of one node, as measured, times the nodes; hours are those of all "
      "epochs.\n\n"
      "The node is the fastest result, in images/s, of training on one host in two ranks or more. Results of one rank "
      "can't be used: it exchanges nothing.";
  command.groups = {
      {"Node",
       {{.name = "bench",
         .argument = "FILE",
         .help = "results of bench_scaling --json on one node, in two ranks or more",
         .value = Option::Value::many},
        {.name = "ranks", .argument = "N", .help = "plan with the results that have N ranks on the node"},
        {.name = "threads", .argument = "N", .help = "plan with the results that have N threads in each rank"}}},
      {"Cluster",
       {network_option(),
        {.name = "nodes",
         .argument = "N,...",
         .help = "numbers of nodes; A..B is A, twice A and so on up to B, so that 2..12 is 2,4,8",
         .fallback = "2..1024"},
        {.name = "reduce",
         .argument = "f32|bf16",
         .help = "type in which gradients are sent to other nodes; without it, that of the results"},
        {.name = "worth",
         .argument = "X",
         .help = "adding nodes pays as long as doubling them gives at least X times the images/s; the nodes are "
                 "doubled from the smallest of 1, 2, 4 and so on that is predicted, whatever --nodes says",
         .fallback = "1.5"}}},
      {"Training",
       {{.name = "batch",
         .argument = "N",
         .help = "images of a step on all nodes together (strong scaling), which all ranks share evenly; a step lies "
                 "between those measured with the next smaller and larger share of a rank. Without it, each node has "
                 "the batch that was measured (weak scaling)"},
        {.name = "images",
         .argument = "N",
         .help = "images of an epoch; the default is FairFace's",
         .fallback = "86744"},
        {.name = "epochs", .argument = "N", .help = "epochs", .fallback = "100"}}},
      {"Results",
       {{.name = "json",
         .argument = "FILE",
         .help = "write JSON: to FILE in addition to the table (also `--json FILE` where FILE ends in .json), or "
                 "without FILE to standard output instead of the table",
         .value = Option::Value::optional}}}};
  command.examples = {
      {"measure a node of four NUMA nodes in the precision of training, then plan",
       "mpirun -n 4 --map-by ppr:1:numa --bind-to numa bench_scaling --precision bf16 --json node.json"},
      {"", "facet plan-cluster --bench node.json --network 100Gb/s,2us --nodes 2..1024"},
      {"512 images a step, however many nodes: measure a rank's smaller shares too, here of 4 images",
       "mpirun -n 4 --map-by ppr:1:numa --bind-to numa bench_scaling --precision bf16 --ranks 4 \\\n"
       "      --scaling strong --batch 16 --json small.json"},
      {"", "facet plan-cluster --bench node.json --bench small.json --network 25Gb/s,5us --batch 512"}};
  command.run = run_plan_cluster;
  return command;
}

}  // namespace facet::app
