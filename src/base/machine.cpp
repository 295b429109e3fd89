#include "base/machine.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <vector>

#include "base/machine_limits.h"

namespace facet::base {
namespace {

/// Cores in the affinity mask; the set grows until the kernel's mask fits (more than 1,024 cores).
int affinity_cores() {
  for (std::size_t sets = 1; sets <= 64; sets *= 2) {
    std::vector<cpu_set_t> mask(sets);
    if (::sched_getaffinity(0, sets * sizeof(cpu_set_t), mask.data()) == 0) {
      return CPU_COUNT_S(sets * sizeof(cpu_set_t), mask.data());
    }
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

int usable_cores() {
  return static_cast<int>(std::clamp<std::int64_t>(cgroup_cores("/"), 1, std::max(affinity_cores(), 1)));
}

std::int64_t available_memory() { return std::min(cgroup_memory("/"), system_memory("/")); }

std::string cpu_model() { return field("/proc/cpuinfo", "model name"); }

std::string cpu_instructions() { return instructions_of(field("/proc/cpuinfo", "flags")); }

// Not getrusage: its peak is handed on by the process that started this one.
std::int64_t peak_resident_memory() {
  return std::strtoll(field("/proc/self/status", "VmHWM").c_str(), nullptr, 10) * 1024;
}

void restart_peak_resident_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace facet::base
