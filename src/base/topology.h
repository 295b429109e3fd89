#pragma once

#include <cstdint>
#include <memory>
#include <vector>

struct hwloc_topology;

/// The cores and caches of a machine, and which of its CPUs threads may run on. A CPU is a logical one, a hyper-thread.
namespace facet::base {

/// A core. Its ID is the number of its first hyper-thread, even if this process may not use that one, so that all
/// processes agree on it.
struct Core {
  int id = 0;
  std::vector<int> cpus;  ///< those of its hyper-threads that are in by_core()'s list

  bool operator==(const Core&) const = default;
};

/// A machine as hwloc finds it. Thread-safe.
class Topology {
 public:
  /// This machine, or one of hwloc's synthetic descriptions, such as "pack:2 numa:1 l3:1 core:4 pu:2".
  /// @throws Error where hwloc fails.
  explicit Topology(const char* synthetic = nullptr);
  /// This machine, which is looked into once.
  static const Topology& machine();

  /// Groups CPUs by core, in the order of each core's first CPU. A CPU whose core isn't known forms a core of its own.
  std::vector<Core> by_core(const std::vector<int>& cpus) const;
  /// Groups CPUs by core, and the cores by NUMA node, or by package where a node has several. Cores are in the
  /// machine's order, in which those that share a cache are next to each other.
  std::vector<std::vector<Core>> by_node(std::vector<int> cpus) const;
  /// All CPUs that are online, ascending.
  std::vector<int> cpus() const;
  /// Those of them that the cpuset of this process's cgroup allows, whatever the affinity mask is.
  std::vector<int> allowed_cpus() const;

  /// Bytes of the first core's second-level cache; 0 if the system doesn't report it.
  std::int64_t second_level_cache_bytes() const;
  /// Bytes of all last-level caches together, where a cache that several cores share counts once; 0 if the system
  /// doesn't report them.
  std::int64_t last_level_cache_bytes() const;

  hwloc_topology* get() const { return topology_.get(); }

 private:
  struct Destroy {
    void operator()(hwloc_topology* topology) const;
  };

  std::unique_ptr<hwloc_topology, Destroy> topology_;
};

/// The affinity mask of the calling thread as CPUs, ascending.
std::vector<int> affinity();

/// Sets the calling thread's affinity mask to `cpus`, which holds at least one. Has no effect where the system refuses.
void set_affinity(const std::vector<int>& cpus);

/// The same for all threads that this process has; those that they start later inherit the mask.
void set_process_affinity(const std::vector<int>& cpus);

}  // namespace facet::base
