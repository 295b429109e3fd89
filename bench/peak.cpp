#include "peak.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "base/memory.h"
#include "base/parallel.h"
#include "eviction.h"
#include "workload.h"

namespace facet::bench {

namespace {

// Runs are short, so that some of many are not interrupted.
constexpr double run_seconds = 0.002;

/// Returns the seconds of a run of the kernel on all compute threads at once.
double kernel_seconds(const PeakKernel& kernel, std::int64_t rounds, std::vector<float>& sinks) {
  return seconds_of([&] {
    base::parallel_for(base::current_threads(), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) kernel.run(rounds, sinks.data() + i * peak_sink_size);
    });
  });
}

/// The shortest of several runs.
double shortest_seconds(const PeakKernel& kernel, std::int64_t rounds, std::vector<float>& sinks, int runs) {
  double shortest = kernel_seconds(kernel, rounds, sinks);
  for (int i = 1; i < runs; ++i) shortest = std::min(shortest, kernel_seconds(kernel, rounds, sinks));
  return shortest;
}

double best_flops(const PeakKernel& kernel) {
  if (kernel.run == nullptr) return 0;
  const int threads = base::current_threads();
  std::vector<float> sinks(threads * peak_sink_size);
  std::int64_t rounds = 1000;
  while (shortest_seconds(kernel, rounds, sinks, 10) < run_seconds) rounds *= 2;
  return kernel.flops * static_cast<double>(rounds * threads) / shortest_seconds(kernel, rounds, sinks, 100);
}

double best_copy() {
  constexpr std::size_t bytes = std::size_t{128} << 20;
  const base::PageBuffer from(bytes);
  const base::PageBuffer to(bytes);
  const std::vector<std::span<const std::byte>> both{{from.data(), bytes}, {to.data(), bytes}};
  std::memset(from.data(), 1, bytes);
  std::memset(to.data(), 1, bytes);
  Eviction eviction;
  double best = 0;
  for (int i = 0; i < 10; ++i) {
    eviction.evict(both);
    const double seconds = seconds_of([&] {
      base::parallel_for(bytes, 4096, [&](std::int64_t begin, std::int64_t end) {
        std::memcpy(to.data() + begin, from.data() + begin, end - begin);
      });
    });
    best = std::max(best, 2.0 * bytes / seconds);
  }
  return best;
}

}  // namespace

double Peak::flops(Precision precision) const {
  return precision == Precision::bf16 ? std::max({f32, bf16_dot, bf16_amx}) : f32;
}

Peak measure_peak() {
  return {best_flops(f32_peak_kernel()), best_flops(bf16_dot_peak_kernel()), best_flops(bf16_amx_peak_kernel()),
          best_copy()};
}

void print_peak(const Peak& peak) {
  fmt::print("peak: f32 multiply-adds {:.0f} GFLOP/s", peak.f32 / 1e9);
  if (peak.bf16_dot > 0) fmt::print(", bf16 dot products {:.0f}", peak.bf16_dot / 1e9);
  if (peak.bf16_amx > 0) fmt::print(", bf16 AMX tiles {:.0f}", peak.bf16_amx / 1e9);
  fmt::print("; copy {:.1f} GB/s, read and written\n", peak.copy / 1e9);
}

nlohmann::json peak_json(const Peak& peak) {
  const auto rate = [](double value) { return value > 0 ? nlohmann::json(value / 1e9) : nlohmann::json(); };
  return {{"f32_gflops", rate(peak.f32)},
          {"bf16_dot_gflops", rate(peak.bf16_dot)},
          {"bf16_amx_gflops", rate(peak.bf16_amx)},
          {"copy_gb_per_s", rate(peak.copy)}};
}

}  // namespace facet::bench
