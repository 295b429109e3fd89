#pragma once

#include <cstdint>

/// Kernels that keep a core's units for products busy and touch no memory; each runs on the calling thread.
namespace facet::bench {

/// Does a number of rounds of products whose sums are written to `sink`, so that they must be computed.
struct PeakKernel {
  void (*run)(std::int64_t rounds, float* sink) = nullptr;  ///< null: not on this machine
  double flops = 0;                                         ///< of a round
};

constexpr std::int64_t peak_sink_size = 1024;  ///< floats

PeakKernel f32_peak_kernel();
PeakKernel bf16_dot_peak_kernel();
PeakKernel bf16_amx_peak_kernel();

}  // namespace facet::bench
