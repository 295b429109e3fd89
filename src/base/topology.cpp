#include "base/topology.h"

#include <fmt/format.h>
#include <hwloc.h>
#include <hwloc/linux.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "facet/error.h"

namespace facet::base {
namespace {

struct FreeBitmap {
  void operator()(hwloc_bitmap_t bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, FreeBitmap>;

Bitmap bitmap_of(const std::vector<int>& cpus) {
  Bitmap bitmap(hwloc_bitmap_alloc());
  for (const int cpu : cpus) hwloc_bitmap_set(bitmap.get(), static_cast<unsigned>(cpu));
  return bitmap;
}

std::vector<int> cpus_of(hwloc_const_bitmap_t bitmap) {
  std::vector<int> cpus;
  for (int cpu = hwloc_bitmap_first(bitmap); cpu >= 0; cpu = hwloc_bitmap_next(bitmap, cpu)) cpus.push_back(cpu);
  return cpus;
}

}  // namespace

Topology::Topology(const char* synthetic) {
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) throw Error("hwloc can't be initialised", ErrorCode::unsupported);
  topology_.reset(topology);
  // A CPU's own account of its caches isn't needed, and for it hwloc would bind this thread to each CPU in turn.
  hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
  if (synthetic != nullptr && hwloc_topology_set_synthetic(topology, synthetic) != 0) {
    throw Error(fmt::format("'{}' isn't a machine that hwloc knows", synthetic));
  }
  // CPUs of other cgroups too: a core's ID is that of a hyper-thread which may be one of these.
  hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
  if (hwloc_topology_load(topology) != 0) throw Error("hwloc can't find this machine's CPUs", ErrorCode::unsupported);
}

void Topology::Destroy::operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }

const Topology& Topology::machine() {
  static const Topology machine;
  return machine;
}

std::vector<Core> Topology::by_core(const std::vector<int>& cpus) const {
  std::vector<Core> cores;
  std::map<int, std::size_t> known;  // by id
  for (const int cpu : cpus) {
    const hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(get(), static_cast<unsigned>(cpu));
    const hwloc_obj_t found = pu == nullptr ? nullptr : hwloc_get_ancestor_obj_by_type(get(), HWLOC_OBJ_CORE, pu);
    const int id = found == nullptr ? cpu : hwloc_bitmap_first(found->cpuset);
    const auto [core, is_new] = known.try_emplace(id, cores.size());
    if (is_new) cores.push_back({.id = id, .cpus = {}});
    cores[core->second].cpus.push_back(cpu);
  }
  return cores;
}

std::vector<std::vector<Core>> Topology::by_node(std::vector<int> cpus) const {
  const auto object = [&](int cpu) { return hwloc_get_pu_obj_by_os_index(get(), static_cast<unsigned>(cpu)); };
  const auto place_of = [&](int cpu) {
    return object(cpu) == nullptr ? -1 : static_cast<int>(object(cpu)->logical_index);
  };
  const auto node_of = [&](int cpu) {
    const hwloc_obj_t pu = object(cpu);
    const hwloc_obj_t package = pu == nullptr ? nullptr : hwloc_get_ancestor_obj_by_type(get(), HWLOC_OBJ_PACKAGE, pu);
    return std::pair(package == nullptr ? -1 : static_cast<int>(package->logical_index),
                     pu == nullptr ? -1 : hwloc_bitmap_first(pu->nodeset));
  };
  std::ranges::sort(cpus, {}, place_of);
  std::vector<std::vector<Core>> nodes;
  std::pair<int, int> last;
  for (Core& core : by_core(cpus)) {
    const std::pair node = node_of(core.cpus.front());
    if (nodes.empty() || node != last) nodes.emplace_back();
    last = node;
    nodes.back().push_back(std::move(core));
  }
  return nodes;
}

std::vector<int> Topology::cpus() const { return cpus_of(hwloc_topology_get_topology_cpuset(get())); }

std::vector<int> Topology::allowed_cpus() const { return cpus_of(hwloc_topology_get_allowed_cpuset(get())); }

std::int64_t Topology::second_level_cache_bytes() const {
  const hwloc_obj_t cache = hwloc_get_obj_by_type(get(), HWLOC_OBJ_L2CACHE, 0);
  return cache == nullptr ? 0 : static_cast<std::int64_t>(cache->attr->cache.size);
}

std::int64_t Topology::last_level_cache_bytes() const {
  for (const hwloc_obj_type_t level :
       {HWLOC_OBJ_L5CACHE, HWLOC_OBJ_L4CACHE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L1CACHE}) {
    std::int64_t bytes = 0;
    for (hwloc_obj_t cache = nullptr; (cache = hwloc_get_next_obj_by_type(get(), level, cache)) != nullptr;) {
      bytes += static_cast<std::int64_t>(cache->attr->cache.size);
    }
    if (bytes > 0) return bytes;
  }
  return 0;
}

// hwloc's functions for Linux, since its general ones do nothing where a site's HWLOC_XMLFILE describes the machine.

std::vector<int> affinity() {
  const Bitmap mask(hwloc_bitmap_alloc());
  if (hwloc_linux_get_tid_cpubind(Topology::machine().get(), 0, mask.get()) == 0) return cpus_of(mask.get());
  std::vector<int> cpus(std::max(std::thread::hardware_concurrency(), 1U));
  std::iota(cpus.begin(), cpus.end(), 0);
  return cpus;
}

void set_affinity(const std::vector<int>& cpus) {
  hwloc_linux_set_tid_cpubind(Topology::machine().get(), 0, bitmap_of(cpus).get());
}

void set_process_affinity(const std::vector<int>& cpus) {
  const Bitmap mask = bitmap_of(cpus);
  // Twice, for threads that are started meanwhile by one that isn't bound yet.
  for (int pass = 0; pass < 2; ++pass) {
    std::error_code error;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", error)) {
      hwloc_linux_set_tid_cpubind(Topology::machine().get(), std::stoi(thread.path().filename()), mask.get());
    }
  }
}

}  // namespace facet::base
