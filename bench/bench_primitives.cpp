#include <fmt/core.h>

#include <cstdio>
#include <string>

#include "eviction.h"
#include "facet/error.h"
#include "options.h"
#include "peak.h"
#include "primitives.h"
#include "result.h"
#include "workload.h"

/// Times each primitive of a model's step on its own, with all candidates, and compares it with the machine's peak.

namespace {

using namespace facet;
namespace po = boost::program_options;

struct Options : bench::WorkloadOptions {
  std::string json;
  int iterations = 5;
};

/// @throws Error, or an exception of Boost, for an invalid option or value.
Options parse(int argc, char** argv) {
  Options o;
  po::options_description description("bench_primitives: times each primitive of a step on its own\n\nOptions");
  bench::add_options(description, o);
  auto add = description.add_options();
  add("iterations", po::value(&o.iterations)->default_value(o.iterations), "runs of each primitive to measure");
  add("json", po::value(&o.json), "write the result to this file; - is standard output");
  bench::read_words(argc, argv, description);
  bench::require_good(o);
  bench::require_within("iterations", o.iterations, 1, 1'000'000);
  if (bench::thread_counts(o).size() > 1)
    throw Error(fmt::format("--threads is {}; a single number is needed", o.threads));
  return o;
}

int run(const Options& o, bench::Workload& workload) {
  bench::JsonFile json(o.json);
  fmt::print("{}\n", bench::title(workload));
  const bench::Peak peak = bench::measure_peak();
  bench::print_peak(peak);
  std::fflush(stdout);  // the following measurements take a while
  program::TuningRecord tuning_record(!o.no_tune);
  bench::CompiledStep step(workload, tuning_record);
  const auto primitives = bench::measure_primitives(workload, step, tuning_record, o.iterations);
  bench::print_primitives(primitives, peak, workload.precision());
  nlohmann::json result = bench::result_json("primitives", workload, tuning_record);
  result["eviction"] = bench::Eviction::method();
  result["peak"] = bench::peak_json(peak);
  result["primitives"] = bench::primitives_json(primitives, peak, workload.precision());
  json.write(result);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return bench::run_bench(
      "bench_primitives", [&] { return options = parse(argc, argv); },
      [&](bench::Workload& workload) { return run(options, workload); });
}
