#include <fmt/core.h>

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "balance.h"
#include "energy.h"
#include "eviction.h"
#include "facet/error.h"
#include "facet/machine.h"
#include "facet/threads.h"
#include "options.h"
#include "peak.h"
#include "primitives.h"
#include "profile.h"
#include "result.h"
#include "workload.h"

/// Measures the throughput of a step on synthetic pixels: training (forward, backward, update) or inference.

namespace {

using namespace facet;
namespace po = boost::program_options;

struct Options : bench::WorkloadOptions {
  std::string json, trace, check;
  int warmup = 2, iterations = 7;
  bool profile = false;
  int balance = 0;
};

/// @throws Error, or an exception of Boost, for an invalid option or value.
Options parse(int argc, char** argv) {
  Options o;
  po::options_description description("bench_training: images/s of a step on synthetic pixels\n\nOptions");
  bench::add_options(description, o);
  auto add = description.add_options();
  add("warmup", po::value(&o.warmup)->default_value(o.warmup), "warm-up steps, which aren't measured");
  add("iterations", po::value(&o.iterations)->default_value(o.iterations), "steps to measure");
  add("profile", po::bool_switch(&o.profile),
      "also profile as many further steps and print their time by kind and by instruction, and the sum of the fastest "
      "primitives, each timed alone");
  bench::add_number(description, "balance", o.balance, 0, max_threads,
                    "instead of timing steps, print how evenly this number of threads, which may exceed the cores, "
                    "would share the loops of our own kernels; 0: don't");
  add("check", po::value(&o.check),
      "also compare ratios with those of this earlier result of --profile; exit with status 1 if one is worse by a "
      "tenth");
  add("json", po::value(&o.json), "write the result to this file; - is standard output");
  add("trace", po::value(&o.trace), "write one more step to this file, for the trace viewers of Chrome and Perfetto");
  bench::read_words(argc, argv, description);
  bench::require_good(o);
  bench::require_within("warmup", o.warmup, 0, 1'000'000);
  bench::require_within("iterations", o.iterations, 1, 1'000'000);
  if (!o.json.empty() && o.json == o.trace)
    throw Error(fmt::format("--json and --trace are the same file, {}", o.json));
  if (bench::thread_counts(o).size() > 1 && (o.profile || !o.check.empty() || !o.trace.empty())) {
    throw Error(fmt::format("--threads is {}; --profile, --check and --trace need a single number", o.threads));
  }
  if (o.balance > 0 && (o.profile || !o.check.empty() || !o.trace.empty() || bench::thread_counts(o).size() > 1)) {
    throw Error("--balance can't be used with --profile, --check, --trace or several numbers of --threads");
  }
  return o;
}

/// How often each primitive is timed alone, in each of its places.
constexpr int primitive_runs = 3;

/// Adds the results of --profile and --check.
/// @param step_seconds the time of the step without profiling.
void add_profile(const Options& o, bench::Workload& workload, bench::CompiledStep& step,
                 const program::TuningRecord& tuning_record, double step_seconds, nlohmann::json& result) {
  const bench::Profile measured = bench::profile(step, o.iterations);
  const bench::Peak peak = bench::measure_peak();
  const bench::Floor floor =
      bench::floor_of(bench::measure_primitives(workload, step, tuning_record, primitive_runs), measured, step_seconds);
  bench::print_profile(measured);
  bench::print_floor(floor);
  bench::print_peak(peak);
  result["profile"] = bench::profile_json(measured);
  result["floor"] = bench::floor_json(floor);
  result["eviction"] = bench::Eviction::method();
  result["peak"] = bench::peak_json(peak);
  double flops = 0;
  for (const program::InstructionInfo& info : measured.instructions) flops += info.flops;
  result["gflops"] = flops / step_seconds / 1e9;
  result["share_of_peak"] = flops / step_seconds / peak.flops(workload.precision());
}

/// Compiles the step and times it; prints a line, and returns its JSON.
nlohmann::json time_step(const Options& o, bench::Workload& workload, program::TuningRecord& tuning_record,
                         std::optional<bench::CompiledStep>& step) {
  const double compile_seconds = bench::seconds_of([&] { step.emplace(workload, tuning_record); });
  for (int i = 0; i < o.warmup; ++i) step->run();
  std::vector<double> rates;
  const bench::PackageEnergy energy;
  for (int i = 0; i < o.iterations; ++i) {
    rates.push_back(static_cast<double>(o.batch) / bench::seconds_of([&] { step->run(); }));
  }
  const std::optional<double> joules = energy.joules();
  nlohmann::json result = bench::result_json("training", workload, tuning_record);
  if (joules && *joules > 0) result["joules_per_image"] = *joules / static_cast<double>(o.batch * o.iterations);
  const nlohmann::json rate = result["images_per_s"] = bench::spread(rates);
  result["compile_seconds"] = compile_seconds;
  result["arena_bytes"] = step->program().arena_bytes();
  result["peak_resident_bytes"] = peak_resident_memory();
  fmt::print("{}: {:.2f} images/s (min {:.2f}, max {:.2f}); peak {} MiB\n", bench::title(workload),
             rate["median"].get<double>(), rate["min"].get<double>(), rate["max"].get<double>(),
             peak_resident_memory() >> 20);
  std::fflush(stdout);  // the following measurements take a while
  return result;
}

int run(const Options& o, bench::Workload& workload) {
  std::optional<bench::Check> check;
  if (!o.check.empty()) check.emplace(o.check);
  bench::JsonFile json(o.json);
  bench::JsonFile trace(o.trace);

  program::TuningRecord tuning_record(!o.no_tune);
  if (check) check->require_comparable(bench::result_json("training", workload, tuning_record));
  std::optional<bench::CompiledStep> step;
  nlohmann::json result = time_step(o, workload, tuning_record, step);
  const double step_seconds = static_cast<double>(o.batch) / result["images_per_s"]["median"].get<double>();
  if (trace.requested()) trace.write(bench::trace_json(bench::profile(*step, 1)));
  if (o.profile || check) add_profile(o, workload, *step, tuning_record, step_seconds, result);
  json.write(result);
  return check && !check->passes(result) ? 1 : 0;
}

/// Measures the step for each number of threads and compares it with the first. Each number has its own compiled step
/// and tuning record.
int run_scaling(const Options& o, bench::Workload& workload) {
  bench::JsonFile json(o.json);
  std::vector<nlohmann::json> results;
  for (const int threads : bench::thread_counts(o)) {
    reset_peak_resident_memory();
    workload.use_threads(threads);
    program::TuningRecord tuning_record(!o.no_tune);
    std::optional<bench::CompiledStep> step;
    results.push_back(time_step(o, workload, tuning_record, step));
  }
  bench::add_scaling(results);
  bench::print_scaling(results);
  json.write_lines(results);
  return 0;
}

/// Prints how evenly the threads of --balance would share the loops of our own kernels.
int run_balance(const Options& o, bench::Workload& workload) {
  bench::JsonFile json(o.json);
  program::TuningRecord tuning_record(!o.no_tune);
  const bench::Balance balance = bench::measure_balance(workload, tuning_record, o.balance, o.warmup, o.iterations);
  nlohmann::json result = bench::result_json("balance", workload, tuning_record);
  result["balance"] = bench::balance_json(balance);
  fmt::print("{}\n", bench::title(workload));
  bench::print_balance(balance);
  json.write(result);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return bench::run_bench(
      "bench_training", [&] { return options = parse(argc, argv); },
      [&](bench::Workload& workload) {
        if (options.balance > 0) return run_balance(options, workload);
        return bench::thread_counts(options).size() > 1 ? run_scaling(options, workload) : run(options, workload);
      });
}
