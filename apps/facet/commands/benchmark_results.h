#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "commands/cluster_model.h"

namespace facet::app {

// Benchmark results: the JSON that bench_training, bench_loading, bench_scaling and bench_allreduce write, and that of
// other frameworks in the format of bench_training.

/// What a result measures.
enum class Measured {
  steps,  ///< images/s of a model's steps, or of loading
  sums,   ///< GB/s of the sum over several ranks, of bench_allreduce
};

/// A throughput on a machine. Members that the file lacks are empty.
struct Benchmark {
  std::string file;  ///< the file's stem
  std::string name;  ///< the same, followed by #2 and so on for a file's further results
  Measured measured = Measured::steps;
  std::string framework, precision, device;
  std::string model, mode;    ///< of steps
  std::string size;           ///< of a model's input: "224", or "224x160"
  std::string scaling;        ///< of steps that bench_scaling measures: "weak 4x2"
  std::string sum, function;  ///< of sums: "allreduce 16 MiB"; what computes it, such as "MPI_Allreduce"
  std::optional<std::int64_t> batch, threads, peak_resident_bytes;
  std::optional<std::int64_t> ranks, hosts;  ///< of sums, and of steps in several processes
  double rate = 0;                           ///< the median, in images/s or GB/s
  std::optional<double> slowest, fastest;    ///< the rate of the slowest and the fastest step or sum
  std::optional<double> joules_per_image;    ///< of a GPU, or of all CPU packages

  /// Whether the rate is that of training, as far as the file says.
  bool is_training() const { return measured == Measured::steps && (mode.empty() || mode == "training"); }
};

/// Reads the results of a file, which holds one JSON object, or one per line. `images_per_s` is a number or an object
/// with `median`, `min` and `max`, and so is `gb_per_s` where `bench` is `allreduce`; `precision` may be called
/// `dtype`, and `peak_resident_bytes` may be given in MiB as `peak_rss_mib`.
/// @throws Error naming the file, the line and what is missing or wrong.
std::vector<Benchmark> read_benchmarks(const std::filesystem::path& file);

/// Reads those results of bench_scaling in a file that can stand for a node of a cluster: of training on one host, in
/// several ranks. Others are left out.
/// @throws Error naming the file, the line and what is missing or wrong; also where there is no such result.
std::vector<NodeResult> read_node_results(const std::filesystem::path& file);

}  // namespace facet::app
