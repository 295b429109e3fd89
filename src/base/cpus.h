#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "facet/threads.h"

/// The logical CPUs that the system lets this process use, and OpenMP's environment variables that concern them.
namespace facet::base {

/// Whether OpenMP binds compute threads, including the main thread, to places (OMP_PROC_BIND, OMP_PLACES,
/// GOMP_CPU_AFFINITY).
bool openmp_binds();

/// Logical CPUs that this process may use: those of the calling thread's affinity mask, in ascending order. Where
/// OpenMP binds threads, that mask covers one place only; the CPUs of all places are returned then, in the places'
/// order.
std::vector<int> usable_cpus();

/// The CPUs as ascending ranges: "0-3,8".
std::string cpu_list(std::vector<int> cpus);

/// The first number of the list OMP_NUM_THREADS; nothing if the variable is not set, or if the number is not from 1 to
/// max_threads. OpenMP ignores invalid values, too.
std::optional<int> openmp_num_threads();

/// The number of compute threads: `requested`; if that is 0, OMP_NUM_THREADS; if that gives no number either,
/// `fallback`.
int resolve_threads(int requested, int fallback);

/// @throws Error naming the option if `threads` is below 0 or above max_threads.
void require_threads(std::string_view option, int threads);

}  // namespace facet::base
