#include "base/machine.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "base/cpus.h"
#include "base/machine_limits.h"

namespace facet::base {

int usable_cores() {
  const auto cores = static_cast<std::int64_t>(by_core(usable_cpus()).size());
  return static_cast<int>(std::clamp<std::int64_t>(cgroup_cores("/"), 1, cores));
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
