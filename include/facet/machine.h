#pragma once

#include <cstdint>
#include <string>

#include "facet/export.h"

// What the machine offers to this process, as Linux reports it.

namespace facet {

/// Returns the number of cores that this process may use: those of its affinity mask (or, where OpenMP binds threads,
/// of OpenMP's places), whose hyper-threads count once, or the CPU quota of its cgroups (v1 and v2, rounded up) if that
/// is smaller. At least 1.
FACET_EXPORT int usable_cores();

/// Returns the memory that this process may still allocate, in bytes: what the limits of its cgroups leave, or what the
/// machine has available if that is less.
FACET_EXPORT std::int64_t available_memory();

/// Returns the CPU's model, such as "AMD EPYC 9634 84-Core Processor"; empty if the system doesn't report it.
FACET_EXPORT std::string cpu_model();

/// Returns the best CPU ISA that facet distinguishes and this CPU has: "avx512_amx", "avx512_bf16", "avx512", "avx2" or
/// "none". set_max_cpu_isa has no influence on it.
FACET_EXPORT std::string cpu_isa();

/// Returns the peak resident memory of this process so far, in bytes.
FACET_EXPORT std::int64_t peak_resident_memory();

/// Resets the peak to the memory that is resident now; has no effect where the system doesn't support it.
FACET_EXPORT void reset_peak_resident_memory();

}  // namespace facet
