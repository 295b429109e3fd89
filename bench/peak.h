#pragma once

#include <nlohmann/json.hpp>

#include "facet/precision.h"

/// What this machine can do at most, measured: what a primitive's speed is held against.
namespace facet::bench {

/// Of all compute threads together. What the CPU, the system or a limit on instructions doesn't have is 0.
struct Peak {
  double f32 = 0;       ///< FLOP/s of f32 multiply-adds on registers
  double bf16_dot = 0;  ///< FLOP/s of bf16 dot products (vdpbf16ps) on registers
  double bf16_amx = 0;  ///< FLOP/s of AMX's bf16 tile products on tile registers
  double copy = 0;      ///< bytes/s read and written by a copy of memory that lies in no cache

  /// FLOP/s of the fastest products that a program of this precision could be made of.
  double flops(Precision precision) const;
};

/// Measures it on the threads of the present base::ComputeScope: the best of several short runs each.
Peak measure_peak();

void print_peak(const Peak& peak);
nlohmann::json peak_json(const Peak& peak);

}  // namespace facet::bench
