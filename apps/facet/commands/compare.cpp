#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "cli/command.h"
#include "cli/terminal.h"
#include "commands/benchmark_results.h"

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
      return benchmark.measured == Measured::steps && benchmark.name == n;
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

/// The scaling and the numbers of ranks and hosts are columns where any result has ranks.
std::string table_of_steps(const std::vector<Benchmark>& benchmarks, const Prices& prices) {
  const bool has_ranks =
      std::any_of(benchmarks.begin(), benchmarks.end(), [](const Benchmark& b) { return b.ranks.has_value(); });
  std::vector<Table::Column> columns{{"result"}, {"framework"}, {"device"},     {"model"},
                                     {"mode"},   {"precision"}, {"batch", true}};
  if (has_ranks) columns.insert(columns.end(), {{"scaling"}, {"ranks", true}, {"hosts", true}});
  columns.insert(columns.end(),
                 {{"threads", true}, {"images/s", true}, {"spread", true}, {"ratio", true}, {"peak MiB", true}});
  if (!prices.empty()) columns.push_back({"images per currency unit", true});
  Table rows(columns);
  for (const Benchmark& b : benchmarks) {
    std::vector<std::string> cells{b.name,          or_dash(b.framework), or_dash(b.device), or_dash(b.model),
                                   or_dash(b.mode), or_dash(b.precision), or_dash(b.batch)};
    if (has_ranks) cells.insert(cells.end(), {or_dash(b.scaling), or_dash(b.ranks), or_dash(b.hosts)});
    cells.insert(cells.end(),
                 {or_dash(b.threads), fmt::format("{:.2f}", b.rate), spread(b, 1),
                  fmt::format("{:.3f}", b.rate / benchmarks.front().rate), mebibytes(b.peak_resident_bytes)});
    if (!prices.empty()) {
      const auto price = prices.find(b.name);
      cells.push_back(price != prices.end() ? fmt::format("{:.0f}", b.rate * 3600 / price->second) : "-");
    }
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

int run_compare(Options& options) {
  if (options.arguments().empty()) throw UsageError("FILE is needed: JSON as bench_training --json writes it");
  std::vector<Benchmark> benchmarks;
  for (const std::string& file : options.arguments()) {
    for (Benchmark& benchmark : read_benchmarks(file)) benchmarks.push_back(std::move(benchmark));
  }
  const Prices prices = read_prices(options, benchmarks);
  const auto sums = std::stable_partition(benchmarks.begin(), benchmarks.end(), [](const Benchmark& benchmark) {
    return benchmark.measured == Measured::steps;
  });
  const std::vector<Benchmark> steps(benchmarks.begin(), sums);
  if (!steps.empty()) print_out("{}", table_of_steps(steps, prices));
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
      "result, peak memory and, with --price, images per unit of cost. Threads are those of each rank. A file holds "
      "one JSON object, or one on each line. Results of other frameworks need only images_per_s. Those of "
      "bench_allreduce are a table of their own: GB/s, and the ratio to the first result of the same size.";
  command.groups = {{"Costs",
                     {{.name = "price",
                       .argument = "NAME=PRICE/h",
                       .help = "price of an hour of a result's machine, in any currency; NAME is the file's name "
                               "without folder and ending",
                       .value = Option::Value::many}}}};
  command.examples = {{"", "facet compare cpu.json gpu.json --price cpu=1.2/h --price gpu=3.9/h"}};
  command.run = run_compare;
  return command;
}

}  // namespace facet::app
