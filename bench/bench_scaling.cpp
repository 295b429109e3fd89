#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "facet/error.h"
#include "facet/machine.h"
#include "facet/models.h"
#include "facet/platform.h"
#include "facet/threads.h"
#include "onednn/onednn.h"
#include "options.h"
#include "ranks.h"
#include "result.h"
#include "scaling.h"
#include "workload.h"

/// Measures how training scales with ranks and threads, on synthetic pixels.

namespace {

using namespace facet;
namespace po = boost::program_options;

struct Options : bench::ScalingOptions {
  std::string ranks, scaling = "weak,strong", json;
};

std::vector<bench::Scaling> read_scalings(const std::string& text) {
  std::vector<bench::Scaling> scalings;
  std::istringstream words(text + ",");
  for (std::string word; std::getline(words, word, ',');) {
    bench::require_one_of("scaling", word, {"weak", "strong"});
    scalings.push_back(word == "weak" ? bench::Scaling::weak : bench::Scaling::strong);
  }
  return scalings;
}

/// Returns 1, 2, 4 and so on below `most`, and `most`.
std::vector<int> powers_up_to(int most) {
  std::vector<int> counts;
  for (int count = 1; count < most; count *= 2) counts.push_back(count);
  counts.push_back(most);
  return counts;
}

/// @param size the number of ranks that are started.
/// @throws Error, or an exception of Boost, for an invalid option or value.
Options parse(int argc, char** argv, int size) {
  constexpr int most = 1'000'000;
  Options o;
  po::options_description description(
      "bench_scaling: images/s of training on several numbers of the ranks that mpirun starts, and of threads\n\n"
      "Options");
  bench::add_model_options(description, o);
  auto add = description.add_options();
  add("scaling", po::value(&o.scaling)->default_value(o.scaling),
      "weak: each rank has as many images, however many ranks there are; strong: all ranks together have");
  add("ranks", po::value(&o.ranks),
      "numbers of ranks, such as 1,2,4: the first so many train and the others wait; by default 1, 2, 4 and so on, and "
      "all");
  add("threads", po::value(&o.threads)->default_value(o.threads),
      "numbers of compute threads of each rank, such as 1,2; 0: OMP_NUM_THREADS, else the cores that the rank may use, "
      "shared with the ranks that may use them too");
  bench::add_number(description, "batch", o.batch, 1, bench::most_images,
                    "batch size, in images: of each rank in weak scaling, of all ranks together in strong scaling");
  add("reduce", po::value(&o.reduce)->default_value(o.reduce),
      "f32 or bf16: the type in which gradients are sent to other hosts");
  bench::add_number(description, "rounds", o.rounds, 1, most,
                    "rounds, in each of which all combinations are measured once, in turn");
  bench::add_number(description, "warmup", o.warmup, 0, most, "warm-up steps in each round, which aren't measured");
  bench::add_number(description, "iterations", o.iterations, 1, most, "steps to measure in each round");
  add("json", po::value(&o.json), "write the results to this file, one a line; - is standard output");
  bench::read_words(argc, argv, description);
  bench::require_good(o);
  bench::require_one_of("reduce", o.reduce, {"f32", "bf16"});
  o.scalings = read_scalings(o.scaling);
  o.rank_counts = o.ranks.empty() ? powers_up_to(size) : bench::read_numbers("ranks", o.ranks, 1, most);
  o.thread_counts = bench::read_numbers("threads", o.threads, 0, max_threads);
  const int most_ranks = std::ranges::max(o.rank_counts);
  if (most_ranks > size) {
    throw Error(fmt::format("--ranks is {}; {} started: mpirun -n {} bench_scaling starts as many as are needed",
                            o.ranks, size == 1 ? "one rank is" : fmt::format("{} ranks are", size), most_ranks));
  }
  if (std::ranges::count(o.scalings, bench::Scaling::strong) > 0 && o.batch < most_ranks) {
    throw Error(
        fmt::format("--batch is {}; strong scaling over {} ranks needs an image for each", o.batch, most_ranks));
  }
  if (!o.max_cpu_isa.empty()) set_max_cpu_isa(o.max_cpu_isa);
  return o;
}

void run(Options& o, const Graph& graph, const ProcessGroup& ranks) {
  const bool writes = ranks.rank() == 0;
  std::optional<bench::JsonFile> json;
  ranks.together([&] { json.emplace(writes ? o.json : ""); });
  for (int& threads : o.thread_counts) {
    // As many on each rank, for which the one with the fewest cores decides.
    threads = -static_cast<int>(ranks.max(-plan_threads(threads, 0, ranks.sharing_cores()).compute));
  }
  const std::string started = bench::ranks_text(ranks.size(), bench::count_hosts(ranks));
  fmt::print("training {} {} batch {} at {}, {}, {} ({})\n", o.model, o.precision, o.batch, to_string(o.size), started,
             cpu_model(), onednn::version());
  std::fflush(stdout);  // the measurements take a while
  const std::vector<bench::ScalingTimes> times = bench::measure_scaling(ranks, o, graph);
  ranks.together([&] {
    if (!writes) return;
    const std::vector<nlohmann::json> results = bench::scaling_json(times, o, graph);
    bench::print_scaling_table(results);
    json->write_lines(results);
  });
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  Graph graph;
  return bench::run_on_ranks(
      "bench_scaling",
      [&](const ProcessGroup& ranks) {
        options = parse(argc, argv, ranks.size());
        graph = build_model(options.model, {.heads = bench::fairface_heads(), .size = options.size});
      },
      [&](const ProcessGroup& ranks) { run(options, graph, ranks); });
}
