#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

#include "facet/precision.h"

/// Measures the machine's peak speed, with which the speed of primitives is compared. The kernels for FLOP/s keep a
/// core's multiply-add units busy and access no memory; each runs on the calling thread.
namespace facet::bench {

/// The peak speed of all compute threads together. A value is 0 if the CPU, the system or a limit on the CPU ISA
/// excludes it.
struct Peak {
  double f32 = 0;       ///< FLOP/s of f32 multiply-adds on registers
  double bf16_dot = 0;  ///< FLOP/s of bf16 dot products (vdpbf16ps) on registers
  double bf16_amx = 0;  ///< FLOP/s of AMX's bf16 tile products on tile registers
  double copy = 0;      ///< bytes/s read and written by a copy of memory that is in no cache

  /// Returns the FLOP/s of the fastest products that a program of this precision can use.
  double flops(Precision precision) const;
};

/// Measures the peak on the threads of the current base::ComputeScope. Each value is the best of several short runs.
Peak measure_peak();

void print_peak(const Peak& peak);
nlohmann::json peak_json(const Peak& peak);

/// A kernel that computes a number of rounds of products. It writes their sums to `sink`, so that the compiler can't
/// remove the computation.
struct PeakKernel {
  void (*run)(std::int64_t rounds, float* sink) = nullptr;  ///< null: not supported on this machine
  double flops = 0;                                         ///< FLOP per round
};

constexpr std::int64_t peak_sink_size = 1024;  ///< floats

PeakKernel f32_peak_kernel();
PeakKernel bf16_dot_peak_kernel();
PeakKernel bf16_amx_peak_kernel();

}  // namespace facet::bench
