#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace facet::app {

// Benchmark results: the JSON that bench_training writes, and that of other frameworks in the same format.

/// The throughput of a model on a machine. Members that the file lacks are empty.
struct Benchmark {
  std::string name;  ///< the file's stem; followed by #2 and so on for a file's further results
  std::string framework, model, mode, precision, device;
  std::optional<std::int64_t> batch, threads, peak_resident_bytes;
  double images_per_s = 0;                 ///< the median
  std::optional<double> slowest, fastest;  ///< images/s of the slowest and the fastest step
};

/// Reads the results of a file, which holds one JSON object, or one per line. `images_per_s` is a number or an object
/// with `median`, `min` and `max`; `precision` may be called `dtype`, and `peak_resident_bytes` may be given in MiB as
/// `peak_rss_mib`.
/// @throws Error naming the file, the line and what is missing or wrong.
std::vector<Benchmark> read_benchmarks(const std::filesystem::path& file);

}  // namespace facet::app
