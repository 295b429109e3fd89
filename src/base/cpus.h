#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

/// The logical CPUs that the system lets this process use, and what OpenMP's environment variables say of them.
namespace facet::base {

/// Whether OpenMP binds compute threads, the main thread among them, to places (OMP_PROC_BIND, OMP_PLACES,
/// GOMP_CPU_AFFINITY).
bool openmp_binds();

/// Logical CPUs that this process may use: those of the calling thread's affinity mask, ascending; where OpenMP binds
/// threads, and that mask is one place's, those of all places, in their order.
std::vector<int> usable_cpus();

/// A core, called after the first of all its hyper-threads, whichever of them may be used: every process calls it so.
struct Core {
  int id = 0;
  std::vector<int> cpus;  ///< those of its hyper-threads that were asked about

  bool operator==(const Core&) const = default;
};

/// The CPUs by core, cores in the order of their first one. A CPU of which the system doesn't tell is a core.
/// @param root "/", or a test's folder.
std::vector<Core> by_core(const std::vector<int>& cpus, const std::filesystem::path& root = "/");

/// "0-3,8"
std::string cpu_list(std::vector<int> cpus);

/// The affinity mask of the calling thread as CPUs, ascending.
std::vector<int> affinity();

/// Makes these, at least one, the calling thread's affinity mask; where the system refuses, the mask stays.
void set_affinity(const std::vector<int>& cpus);

/// Where OpenMP binds threads: lets the calling thread, which began with the place of the one that started it, run on
/// all usable CPUs.
void leave_openmp_place();

/// Compute threads that can be asked for.
inline constexpr int most_threads = 4096;

/// OMP_NUM_THREADS, the first number of its list; nothing where it isn't set, or no number from 1 to most_threads:
/// OpenMP ignores one that it can't read, too.
std::optional<int> openmp_num_threads();

/// As many compute threads as are asked for; for 0 OMP_NUM_THREADS, or where that says nothing `otherwise`.
int compute_threads(int asked, int otherwise);

}  // namespace facet::base
