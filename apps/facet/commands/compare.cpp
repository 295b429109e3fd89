#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "cli/command.h"
#include "cli/terminal.h"
#include "commands/benchmark_results.h"
#include "commands/cluster_node.h"

namespace facet::app {
namespace {

/// Prices of an hour, by the name of a result.
using Prices = std::map<std::string, double>;

/// Splits "A=2.1/h" into A and 2.1. @throws UsageError.
std::pair<std::string, double> read_price(const std::string& word, const std::string& origin) {
  const std::size_t equals = word.rfind('=');
  const bool shaped = equals != std::string::npos && equals > 0 && word.ends_with("/h");
  double price = NAN;
  std::size_t read = 0;
  const std::string number = shaped ? word.substr(equals + 1, word.size() - equals - 3) : "";
  try {
    price = std::stod(number, &read);
  } catch (const std::exception&) {
    read = 0;
  }
  if (!shaped || read != number.size() || !(price > 0) || !std::isfinite(price)) {
    throw UsageError(fmt::format("{} is '{}'; NAME=PRICE/h is needed, such as A=2.1/h", origin, word));
  }
  return {word.substr(0, equals), price};
}

Prices read_prices(const Options& options, const std::vector<Benchmark>& benchmarks) {
  Prices prices;
  for (const std::string& word : options.list("price")) {
    const auto [name, price] = read_price(word, options.origin("price"));
    const auto is_named = [&, n = name](const Benchmark& benchmark) {
      return benchmark.measured == Measured::steps && (benchmark.name == n || benchmark.file == n);
    };
    if (std::none_of(benchmarks.begin(), benchmarks.end(), is_named)) {
      std::string names;
      for (const Benchmark& benchmark : benchmarks) {
        if (benchmark.measured == Measured::steps) names += (names.empty() ? "" : ", ") + benchmark.name;
      }
      throw UsageError(fmt::format("{} is '{}': no result is called {}; the results are {}", options.origin("price"),
                                   word, name, names.empty() ? "sums, which have no price" : names));
    }
    prices[name] = price;
  }
  return prices;
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

template <class T>
std::string or_dash(const std::optional<T>& value) {
  return value ? fmt::format("{}", *value) : "-";
}

std::string mebibytes(const std::optional<std::int64_t>& bytes) {
  return bytes ? fmt::format("{}", *bytes >> 20) : "-";
}

std::string spread(const Benchmark& benchmark, int decimals) {
  if (!benchmark.slowest || !benchmark.fastest) return "-";
  return fmt::format("{:.{}f} - {:.{}f}", *benchmark.slowest, decimals, *benchmark.fastest, decimals);
}

/// What is computed from the results.
struct Questions {
  Prices prices;
  double images = 0, epochs = 0;    ///< of the training whose hours are told
  std::optional<ClusterPlan> plan;  ///< of nodes that equal a result
};

/// The hours of all epochs, where the result is of training.
std::optional<double> hours_of(const Benchmark& benchmark, const Questions& questions) {
  if (!benchmark.is_training()) return std::nullopt;
  return questions.epochs * questions.images / benchmark.rate / 3600;
}

/// The number of nodes that train the result's model as fast, or why there is none.
std::string nodes_of(const Benchmark& benchmark, const ClusterPlan& plan) {
  const auto differ = [](const std::string& a, const std::string& b) { return !a.empty() && !b.empty() && a != b; };
  if (!benchmark.is_training() || differ(benchmark.model, plan.node.model) || differ(benchmark.size, plan.node.size)) {
    return "-";
  }
  const std::optional<std::int64_t> nodes = nodes_for(plan, benchmark.rate);
  return nodes ? grouped(*nodes) : "none";
}

/// The scaling and the numbers of ranks and hosts are columns where any result has ranks; so are others.
std::string table_of_steps(const std::vector<Benchmark>& benchmarks, const Questions& questions) {
  const Prices& prices = questions.prices;
  const auto any = [&](const auto& has) { return std::any_of(benchmarks.begin(), benchmarks.end(), has); };
  const bool has_ranks = any([](const Benchmark& b) { return b.ranks.has_value(); });
  const bool has_energy = any([](const Benchmark& b) { return b.joules_per_image.has_value(); });
  const bool has_training = any([](const Benchmark& b) { return b.is_training(); });
  std::vector<Table::Column> columns{{"result"}, {"framework"}, {"device"},     {"model"},
                                     {"mode"},   {"precision"}, {"batch", true}};
  if (has_ranks) columns.insert(columns.end(), {{"scaling"}, {"ranks", true}, {"hosts", true}});
  columns.insert(columns.end(),
                 {{"threads", true}, {"images/s", true}, {"spread", true}, {"ratio", true}, {"peak MiB", true}});
  if (has_training) columns.push_back({"hours", true});
  if (!prices.empty() && has_training) columns.push_back({"cost", true});
  if (!prices.empty()) columns.push_back({"images per currency unit", true});
  if (has_energy) columns.push_back({"images/J", true});
  if (questions.plan) columns.push_back({"nodes", true});
  Table rows(columns);
  for (const Benchmark& b : benchmarks) {
    std::vector<std::string> cells{b.name,          or_dash(b.framework), or_dash(b.device), or_dash(b.model),
                                   or_dash(b.mode), or_dash(b.precision), or_dash(b.batch)};
    if (has_ranks) cells.insert(cells.end(), {or_dash(b.scaling), or_dash(b.ranks), or_dash(b.hosts)});
    cells.insert(cells.end(),
                 {or_dash(b.threads), fmt::format("{:.2f}", b.rate), spread(b, 1),
                  fmt::format("{:.3f}", b.rate / benchmarks.front().rate), mebibytes(b.peak_resident_bytes)});
    const std::optional<double> hours = hours_of(b, questions);
    if (has_training) cells.push_back(hours ? fmt::format("{:.1f}", *hours) : "-");
    if (!prices.empty()) {
      const auto own = prices.find(b.name);
      const auto price = own != prices.end() ? own : prices.find(b.file);
      const bool is_priced = price != prices.end();
      if (has_training) cells.push_back(is_priced && hours ? fmt::format("{:.2f}", *hours * price->second) : "-");
      cells.push_back(is_priced ? fmt::format("{:.0f}", b.rate * 3600 / price->second) : "-");
    }
    if (has_energy) cells.push_back(b.joules_per_image ? fmt::format("{:.3g}", 1 / *b.joules_per_image) : "-");
    if (questions.plan) cells.push_back(nodes_of(b, *questions.plan));
    rows.add(std::move(cells));
  }
  return rows.text();
}

/// The ratios are those to the first result of the same sum.
std::string table_of_sums(const std::vector<Benchmark>& benchmarks) {
  Table rows({{"result"},
              {"framework"},
              {"device"},
              {"sum"},
              {"precision"},
              {"function"},
              {"ranks", true},
              {"hosts", true},
              {"threads", true},
              {"GB/s", true},
              {"spread", true},
              {"ratio", true}});
  for (const Benchmark& b : benchmarks) {
    const auto first =
        std::find_if(benchmarks.begin(), benchmarks.end(), [&](const Benchmark& other) { return other.sum == b.sum; });
    rows.add({b.name, or_dash(b.framework), or_dash(b.device), or_dash(b.sum), or_dash(b.precision),
              or_dash(b.function), or_dash(b.ranks), or_dash(b.hosts), or_dash(b.threads),
              fmt::format("{:.3f}", b.rate), spread(b, 3), fmt::format("{:.3f}", b.rate / first->rate)});
  }
  return rows.text();
}

/// The cluster of --node and --network; empty where none is given. @throws UsageError where one of the two is.
std::optional<ClusterPlan> read_cluster(const Options& options, std::int64_t images) {
  if (!options.given("node") && !options.given("network")) return std::nullopt;
  ClusterPlan plan;
  plan.network = read_network(options);
  plan.images = images;
  plan.epochs = 1;
  choose_node(plan, read_node_results(options, "node"));
  return plan;
}

/// What the columns mean whose numbers depend on more than the results.
std::string explanation(const Questions& questions, bool has_training) {
  std::string text;
  if (has_training) {
    text += fmt::format("hours are those of {:.0f} epochs of {} images, without validation\n", questions.epochs,
                        grouped(static_cast<std::int64_t>(questions.images)));
  }
  if (questions.plan) {
    const ClusterPlan& plan = *questions.plan;
    text += fmt::format(
        "nodes are those of {}, {}, {} images each, that train as fast (plan-cluster tells what is assumed)\n",
        plan.node.origin, plan.node.name, plan.node.batch);
  }
  return text.empty() ? text : "\n" + text;
}

int run_compare(Options& options) {
  if (options.arguments().empty()) throw UsageError("FILE is needed: JSON as bench_training --json writes it");
  std::vector<Benchmark> benchmarks;
  for (const std::string& file : options.arguments()) {
    for (Benchmark& benchmark : read_benchmarks(file)) benchmarks.push_back(std::move(benchmark));
  }
  const std::int64_t images = options.integer("images", 1, 1'000'000'000'000);
  const Questions questions{.prices = read_prices(options, benchmarks),
                            .images = static_cast<double>(images),
                            .epochs = static_cast<double>(options.integer("epochs", 1, 1'000'000)),
                            .plan = read_cluster(options, images)};
  const auto sums = std::stable_partition(benchmarks.begin(), benchmarks.end(), [](const Benchmark& benchmark) {
    return benchmark.measured == Measured::steps;
  });
  const std::vector<Benchmark> steps(benchmarks.begin(), sums);
  if (!steps.empty()) {
    const bool has_training =
        std::any_of(steps.begin(), steps.end(), [](const Benchmark& b) { return b.is_training(); });
    print_out("{}{}", table_of_steps(steps, questions), explanation(questions, has_training));
  }
  if (!steps.empty() && sums != benchmarks.end()) print_out("\n");
  if (sums != benchmarks.end()) print_out("{}", table_of_sums({sums, benchmarks.end()}));
  return 0;
}

}  // namespace

Command compare_command() {
  Command command;
  command.name = "compare";
  command.summary = "compare benchmark results";
  command.usage = "FILE... [options]";
  command.description =
      "Prints a table of the results of bench_training, bench_loading and bench_scaling --json and of other programs "
      "that write the same form: images/s, the spread from the slowest step to the fastest, the ratio to the first "
      "result, peak memory, the hours of a training, images per joule where the results tell the energy, and with "
      "--price what the training costs, and images per unit of cost. With --node and --network, the last column is the "
      "number of such nodes that train as fast, as facet plan-cluster predicts it: how many CPU nodes replace a GPU. "
      "Threads are those of each rank. A file holds one JSON object, or one on each line. Results of other frameworks "
      "need only images_per_s; bench/gpu/pytorch_baseline.py writes those of PyTorch on a GPU or a CPU. Those of "
      "bench_allreduce are a table of their own: GB/s, and the ratio to the first result of the same size.";
  command.groups = {{"Training",
                     {{.name = "images",
                       .argument = "N",
                       .help = "images of an epoch; the default is FairFace's",
                       .fallback = "86744"},
                      {.name = "epochs", .argument = "N", .help = "epochs", .fallback = "100"}}},
                    {"Cluster",
                     {{.name = "node",
                       .argument = "FILE",
                       .help = "results of bench_scaling --json on one node, in two ranks or more, the fastest of "
                               "which stands for the node",
                       .value = Option::Value::many},
                      network_option()}},
                    {"Costs",
                     {{.name = "price",
                       .argument = "NAME=PRICE/h",
                       .help = "price of an hour of the machine, in any currency; NAME is a file's name without folder "
                               "and ending, for all its results, or with #2 and so on for one of them",
                       .value = Option::Value::many}}}};
  command.examples = {
      {"", "facet compare cpu.json gpu.json --price cpu=1.2/h --price gpu=3.9/h"},
      {"how many nodes train as fast as that GPU", "facet compare gpu.json --node node.json --network 100Gb/s,2us"}};
  command.run = run_compare;
  return command;
}

}  // namespace facet::app
