#include <fmt/core.h>
#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "allreduce.h"
#include "base/parallel.h"
#include "comm/communicator.h"
#include "facet/error.h"
#include "facet/machine.h"
#include "facet/process_group.h"
#include "facet/threads.h"
#include "options.h"
#include "ranks.h"
#include "result.h"

/// Compares facet's sum of f32 over all ranks, by which training adds gradients, with MPI's own.

namespace {

using namespace facet;
namespace po = boost::program_options;

struct Options : bench::SumOptions {
  std::string sizes = "4K-256M", json;
  int threads = 0;
};

/// The most bytes of a message, so that both MPI's count of elements and the memory for it are far from their limits.
constexpr std::size_t most_bytes = std::size_t{1} << 32;

/// Reads a number of bytes, such as 4096, 4K, 16M or 1G. Returns 0 if it is none, or not a whole number of f32.
std::size_t read_bytes(std::string_view word) {
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  const std::string_view unit = word.substr(static_cast<std::size_t>(end - word.data()));
  const int shift = unit.empty() ? 0 : unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : -1;
  if (error != std::errc() || shift < 0 || number > most_bytes >> shift) return 0;
  const std::size_t bytes = number << shift;
  return bytes % sizeof(float) == 0 ? bytes : 0;
}

/// Reads sizes and ranges of sizes, which grow by factors of 4, separated by commas. @throws Error
std::vector<std::size_t> read_sizes(const std::string& text) {
  std::vector<std::size_t> sizes;
  std::istringstream words(text + ",");
  for (std::string word; std::getline(words, word, ',');) {
    const std::size_t dash = word.find('-');
    const std::size_t first = read_bytes(std::string_view(word).substr(0, dash));
    const std::size_t last = dash == std::string::npos ? first : read_bytes(std::string_view(word).substr(dash + 1));
    if (first == 0 || last < first) {
      throw Error(
          fmt::format("--bytes is {}; sizes such as 4096, 4K or 16M are needed, multiples of 4 bytes up to 4G, "
                      "or ranges such as 4K-256M, separated by commas",
                      text));
    }
    for (std::size_t size = first; size <= last; size *= 4) sizes.push_back(size);
  }
  return sizes;
}

/// @throws Error, or an exception of Boost, for an invalid option or value.
Options parse(int argc, char** argv) {
  Options o;
  po::options_description description(
      "bench_allreduce: the sum of f32 over all ranks that mpirun starts, by facet and by MPI\n\nOptions");
  auto add = description.add_options();
  add("help", "print this and exit");
  add("bytes", po::value(&o.sizes)->default_value(o.sizes),
      "sizes of the message in bytes, such as 4096,64K,16M; 4K-256M is a range, by factors of 4");
  add("warmup", po::value(&o.warmup)->default_value(o.warmup),
      "warm-up iterations of each size, which aren't measured");
  add("iterations", po::value(&o.iterations)->default_value(o.iterations), "iterations of each size to measure");
  add("threads", po::value(&o.threads)->default_value(o.threads),
      "compute threads of each rank; 0: OMP_NUM_THREADS, else the cores that the rank may use, shared with the ranks "
      "that may use them too");
  add("json", po::value(&o.json), "write the results to this file; - is standard output");
  bench::read_words(argc, argv, description);
  o.bytes = read_sizes(o.sizes);
  bench::require_within("warmup", o.warmup, 0, 1'000'000);
  bench::require_within("iterations", o.iterations, 1, 1'000'000);
  bench::require_within("threads", o.threads, 0, max_threads);
  return o;
}

nlohmann::json common_json(const Options& o, const ProcessGroup& ranks, int hosts, int threads) {
  nlohmann::json versions = bench::versions_json();
  versions["mpi"] = comm::mpi_version();
  return {{"bench", "allreduce"},       {"precision", "f32"},
          {"ranks", ranks.size()},      {"hosts", hosts},
          {"threads", threads},         {"placement", placement(threads)},
          {"iterations", o.iterations}, {"machine", bench::machine_json("")},
          {"versions", versions}};
}

void run(const Options& o, const ProcessGroup& ranks) {
  const bool writes = ranks.rank() == 0;
  std::optional<bench::JsonFile> json;
  ranks.together([&] { json.emplace(writes ? o.json : ""); });
  const base::ComputeScope compute(plan_threads(o.threads, 0, ranks.sharing_cores()).compute);
  const int hosts = bench::count_hosts(ranks);
  fmt::print("sum of f32 over {}, {} each, {} ({})\n", bench::ranks_text(ranks.size(), hosts),
             compute.threads() == 1 ? "1 thread" : fmt::format("{} threads", compute.threads()), cpu_model(),
             comm::mpi_version());
  bench::print_sum_header();
  bench::SumBench sums(ranks, o);
  std::vector<bench::SumTimes> measured;
  for (const std::size_t bytes : o.bytes) {
    measured.push_back(sums.measure(bytes));
    bench::print_sum(measured.back(), ranks.size());
  }
  ranks.together([&] {
    if (!writes) return;
    const nlohmann::json common = common_json(o, ranks, hosts, compute.threads());
    std::vector<nlohmann::json> results;
    for (const bench::SumTimes& times : measured) {
      for (nlohmann::json& result : bench::sum_json(times, ranks.size(), common)) results.push_back(std::move(result));
    }
    json->write_lines(results);
  });
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return bench::run_on_ranks(
      "bench_allreduce",
      [&](const ProcessGroup& ranks) {
        options = parse(argc, argv);
        if (ranks.size() > 1) return;
        throw Error("one rank has nothing to exchange; start several, as in: mpirun -n 2 bench_allreduce");
      },
      [&](const ProcessGroup& ranks) { run(options, ranks); });
}
