#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/topology.h"

/// On which cores the ranks of a host compute, and what a user is told of it.
namespace facet::comm {

/// The CPUs that a rank was given, by its launcher or by OpenMP's variables.
struct GivenCpus {
  std::vector<int> cpus;    ///< ascending
  bool has_places = false;  ///< OpenMP binds the rank's threads to places among these CPUs
};

/// Those that this process has now.
GivenCpus given_cpus();

/// The CPUs that a rank computes on.
struct Place {
  std::vector<int> cpus;    ///< ascending
  int sharing = 1;          ///< ranks of the host, this one included, that may use one of its cores
  bool is_divided = false;  ///< several ranks were given the same CPUs, and this is one's part of them
};

/// Places the ranks of a host. Where several were given the same CPUs, because their launcher hasn't bound them, or has
/// bound them together to a package, each gets a part of their cores, by local rank: whole cores next to each other.
/// The parts within a NUMA node (or package) differ by one core at most; those in nodes with other numbers of cores or
/// ranks may differ by more. None spans two nodes where all can have as many cores at least within one. CPUs are used
/// as they were given where they are one rank's own, where they overlap with other CPUs of another rank, where they
/// have fewer cores than ranks, or a CPU quota that gives the ranks fewer, and where OpenMP binds threads.
/// @param given by local rank. @param quota cores, as base::cgroup_cores() returns it.
std::vector<Place> place_ranks(const base::Topology& topology, const std::vector<GivenCpus>& given, std::int64_t quota);

/// Returns among how many ranks the cores of one are to be divided, so that the ranks of its host compute on no more
/// cores together than a CPU quota allows them, and each has its share of it.
/// @param own the rank's cores. @param all those of all ranks of the host. @param quota as for place_ranks().
int ranks_in_quota(std::int64_t own, std::int64_t all, std::int64_t quota);

/// A rank and its host, as users are told of them.
struct PlacedRank {
  int host = 0;  ///< the lowest rank on it
  std::string host_name;
  Place place;
  bool has_places = false;  ///< see GivenCpus
  int cores = 1;            ///< that the rank may use, also those that it shares
  int host_cores = 1;       ///< that all ranks of its host could use together
  int cpus_per_core = 1;    ///< of its host
};

/// Returns where the ranks compute: "4 on 1 host, 8 cores each, divided by local rank: CPUs 0-7; 8-15; 16-23; 24-31".
/// The CPUs are left out where their list is long, or where the hosts differ.
std::string describe(std::span<const PlacedRank> ranks);

/// What has started this process; hydra is MPICH's.
enum class Launcher : std::uint8_t { none, open_mpi, hydra, srun };

/// Returns the launcher that the environment tells of; `none` also where it is another one.
Launcher launcher_of_environment();

/// Returns the CPUs that each node of a job of Slurm has at least, of its SLURM_JOB_CPUS_PER_NODE, such as "16(x2),8";
/// 0 where the text tells of none.
int least_slurm_cpus(std::string_view per_node);

/// Returns a sentence for each kind of problem of the ranks' placement, about the first host that has it, with the
/// launcher's flags that avoid it: ranks that overlap, and ranks that may use half of their host's cores or less.
/// A single rank without a launcher has none.
/// @param threads compute threads of each rank; 0: one for each core.
std::vector<std::string> placement_problems(std::span<const PlacedRank> ranks, Launcher launcher, int threads);

}  // namespace facet::comm
