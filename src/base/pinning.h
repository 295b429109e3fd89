#pragma once

#include <string>

/// Pins compute threads to cores of their own. Only main functions may use it, since it affects the whole process; the
/// library never does.
namespace facet::base {

/// Binds each of `threads` compute threads to a core of its own: the first cores of usable_cpus() to which no other
/// facet program on this machine is pinned. All other threads stay unbound. Only OpenMP can bind its threads
/// permanently, and only when it is loaded. So this sets OMP_PLACES and OMP_PROC_BIND and restarts the program, in the
/// same process and with the same arguments. Call it before any work is done and anything is printed. If the user's own
/// variables make OpenMP bind threads, they take precedence and this does nothing.
/// @throws Error if there are too few cores, if the user's variables make OpenMP bind no threads (OMP_PROC_BIND=false),
/// or if compute runs on oneTBB, whose threads have no places.
void pin_compute_threads(int threads);

/// Checks that `threads` compute threads could be pinned now, for a program that lets others pin. It reserves no core.
/// @throws Error as pin_compute_threads does.
void require_pinnable(int threads);

/// Where the compute threads of this process run: "pinned to CPUs 0-3", or "not pinned".
std::string placement(int threads);

}  // namespace facet::base
