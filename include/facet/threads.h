#pragma once

#include <string>

#include "facet/export.h"

// How many threads work, and on which cores.

namespace facet {

/// The largest number of compute threads, and of decoding threads, that may be requested.
inline constexpr int max_threads = 4096;

/// Returns the number of compute threads for the number that a user requests; 0 stands for OMP_NUM_THREADS, or else for
/// all cores that the process may use. Predictors and evaluation take this number.
/// @throws Error when `requested` is below 0 or above max_threads.
FACET_EXPORT int resolve_threads(int requested);

/// The numbers of threads of a training run.
struct ThreadPlan {
  int compute = 1;
  int loader = 0;  ///< 0: as many as keep training from waiting
};

/// Returns the numbers of threads that a Trainer uses for TrainOptions::threads and loader_threads. Where they are 0,
/// the loader takes as many threads as it needs, and compute takes OMP_NUM_THREADS or all cores that the process may
/// use, since decoding is cheap compared with a step. With 16 cores or more, compute leaves the loader's threads, at
/// least one, a core each, since a step waits for its slowest thread.
/// @param sharing the number of processes that may use this process's cores, such as ProcessGroup::sharing_cores().
///   Where nobody gives a number, compute takes the cores divided by it, at least one.
/// @throws Error when a number of threads is below 0 or above max_threads, or `sharing` is below 1.
FACET_EXPORT ThreadPlan plan_threads(int threads, int loader_threads, int sharing = 1);

/// Binds each of `threads` compute threads to a core of its own: the first cores that this process may use and to which
/// no other program on this machine is pinned by this function. All other threads stay unbound. Only OpenMP can bind
/// its threads permanently, and only when it is loaded. So this sets OMP_PLACES and OMP_PROC_BIND and restarts the
/// program, in the same process and with the same arguments. If the user's own variables make OpenMP bind threads, they
/// take precedence and this does nothing. Only a main function may call it, before any work is done and anything is
/// printed, since it affects the whole process; the library never does.
/// @throws Error when there are too few cores, when the user's variables make OpenMP bind no threads
///   (OMP_PROC_BIND=false), or when compute runs on oneTBB, whose threads have no places.
FACET_EXPORT void pin_compute_threads(int threads);

/// Checks that `threads` compute threads could be pinned now, for a program that starts others that pin. It reserves no
/// core.
/// @throws Error as pin_compute_threads does.
FACET_EXPORT void require_pinnable(int threads);

/// Returns where `threads` compute threads of this process run: "pinned to CPUs 0-3", or "not pinned".
FACET_EXPORT std::string placement(int threads);

/// Where OpenMP binds threads, lets the calling thread, and the programs that it starts from then on, run on all CPUs
/// that OpenMP's places have. Without this call a thread keeps the place of the thread that started it.
FACET_EXPORT void leave_openmp_place();

}  // namespace facet
