#pragma once

#include <cstdint>
#include <string>

namespace facet::base {

/// Cores that this process may use: those of usable_cpus(), a core's hyper-threads counted once, or its cgroups' CPU
/// quota (v1 and v2, rounded up) if that is smaller.
int usable_cores();

/// Bytes of memory that this process may still take: the smallest room under its cgroups' limits, and MemAvailable.
std::int64_t available_memory();

/// "AMD EPYC 9634 84-Core Processor"; empty where the system doesn't tell.
std::string cpu_model();

/// The best instruction set of ours that this CPU has: "avx512_amx", "avx512_bf16", "avx512", "avx2" or "none".
std::string cpu_instructions();

/// Peak resident memory of this process so far, in bytes.
std::int64_t peak_resident_memory();

/// Lets the peak begin anew at what is resident now; without effect where the system can't.
void restart_peak_resident_memory();

}  // namespace facet::base
