#pragma once

#include <string>

/// Compute threads on cores of their own. For main functions alone, since it concerns the whole process: the library
/// never calls it.
namespace facet::base {

/// Has each of so many compute threads bound to a core of its own, the first that usable_cpus() has and no other
/// program of ours on this machine has pinned to; all other threads stay free. Only OpenMP can bind its threads for
/// good, and only when it is loaded: it is told by OMP_PLACES and OMP_PROC_BIND, and the program is started anew, as
/// the same process with the same words. So call this before any work, and before anything is printed. Where the user
/// has OpenMP bind threads by its own variables, those decide, and this does nothing.
/// @throws Error when there are too few cores, the user's variables have OpenMP bind nothing (OMP_PROC_BIND=false), or
/// compute runs on oneTBB, whose threads have no places.
void pin_compute_threads(int threads);

/// For a program that has others pin: that so many compute threads could be pinned now. Takes no core.
/// @throws Error as pin_compute_threads does.
void require_pinnable(int threads);

/// Where the compute threads of this process are: "pinned to CPUs 0-3", or "not pinned".
std::string placement(int threads);

}  // namespace facet::base
