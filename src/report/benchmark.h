#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

/// Benchmark results: the JSON that bench_training writes, and that of other frameworks that keep to it.
namespace facet::report {

/// Throughput of a model on a machine. Members that a file doesn't tell are empty or nothing.
struct Benchmark {
  std::string name;  ///< the file's, without folder and ending; with #2 and so on for a file's further results
  std::string framework, model, mode, precision, device;
  std::optional<std::int64_t> batch, threads, peak_resident_bytes;
  double images_per_s = 0;                 ///< the median
  std::optional<double> slowest, fastest;  ///< images/s of the slowest and the fastest step
};

/// The results of a file: one JSON object, or one a line. `images_per_s` is a number or an object with `median`, `min`
/// and `max`; `precision` may be called `dtype`, and `peak_resident_bytes` be told in MiB as `peak_rss_mib`.
/// @throws Error naming the file, the line and what is missing or wrong.
std::vector<Benchmark> read_benchmarks(const std::filesystem::path& file);

}  // namespace facet::report
