#include "base/machine.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <vector>

#include "base/cpus.h"
#include "base/topology.h"

namespace facet {

int usable_cores() {
  const auto cores = static_cast<std::int64_t>(base::Topology::machine().by_core(base::usable_cpus()).size());
  return static_cast<int>(std::clamp<std::int64_t>(base::cgroup_cores("/"), 1, cores));
}

std::int64_t available_memory() { return std::min(base::cgroup_memory("/"), base::system_memory("/")); }

std::string cpu_model() { return base::field("/proc/cpuinfo", "model name"); }

std::string cpu_isa() { return base::cpu_isa_of(base::field("/proc/cpuinfo", "flags")); }

// getrusage isn't used: its peak is inherited from the process that started this one.
std::int64_t peak_resident_memory() {
  return std::strtoll(base::field("/proc/self/status", "VmHWM").c_str(), nullptr, 10) * 1024;
}

void reset_peak_resident_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

namespace base {

namespace fs = std::filesystem;

namespace {

/// The first line of a file; empty if there is none.
std::string line_of(const fs::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

}  // namespace

double cpu_frequency_mhz(const fs::path& root) {
  const std::string reported = field(root / "proc/cpuinfo", "cpu MHz");
  if (!reported.empty()) return std::strtod(reported.c_str(), nullptr);
  return std::strtod(line_of(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").c_str(), nullptr) / 1000;
}

std::string huge_page_policy(const fs::path& root) {
  if (field(root / "proc/self/status", "THP_enabled") == "0") return "never";
  const std::string policies = line_of(root / "sys/kernel/mm/transparent_hugepage/enabled");  // always [madvise] never
  const auto open = policies.find('[');
  const auto close = policies.find(']');
  return open < close && close != std::string::npos ? policies.substr(open + 1, close - open - 1) : "";
}

std::int64_t huge_page_bytes(const fs::path& root) {
  return std::strtoll(field(root / "proc/self/smaps_rollup", "AnonHugePages").c_str(), nullptr, 10) << 10;
}

namespace {

/// One cgroup hierarchy, and this process's place in it.
struct Hierarchy {
  std::string controllers;  // ",cpu,cpuacct,"; empty for the unified hierarchy (v2)
  fs::path mount;
  fs::path folder;  // the process's own cgroup; it is `mount` or below it
};

std::vector<std::string> words(const std::string& line, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(line);
  for (std::string part; std::getline(stream, part, separator);) {
    parts.push_back(part);
  }
  return parts;
}

/// Reads lines "ID:CONTROLLERS:PATH" of /proc/self/cgroup: returns the path of the hierarchy whose controllers satisfy
/// `matches`.
std::optional<std::string> own_path(const fs::path& root, const std::function<bool(const std::string&)>& matches) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second != std::string::npos && matches(line.substr(first + 1, second - first - 1))) {
      return line.substr(second + 1);
    }
  }
  return std::nullopt;
}

/// Whether `text` is one of the comma-separated `names`.
bool lists(const std::string& names, const std::string& text) {
  return ("," + names + ",").find("," + text + ",") != std::string::npos;
}

/// The folder of the hierarchy's `path`. A container sees only its own part of the hierarchy, below the mount's root.
fs::path folder_of(const fs::path& mount, const std::string& mount_root, std::string path) {
  if (mount_root != "/" && path.starts_with(mount_root)) {
    path = path.substr(mount_root.size());
  }
  const fs::path folder = (mount / fs::path(path).relative_path()).lexically_normal();
  return path.find("..") == std::string::npos && fs::is_directory(folder) ? folder : mount;
}

/// The hierarchy with a controller (v1), or the unified one (v2) if `controller` is empty, from /proc/self/mountinfo.
std::optional<Hierarchy> hierarchy(const fs::path& root, const std::string& controller) {
  const auto path = own_path(
      root, [&](const std::string& names) { return controller.empty() ? names.empty() : lists(names, controller); });
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; path && std::getline(file, line);) {
    const std::vector<std::string> parts = words(line, ' ');
    const auto dash = std::find(parts.begin(), parts.end(), "-");
    if (parts.size() < 5 || parts.end() - dash < 4) {
      continue;
    }
    const bool matches = controller.empty() ? dash[1] == "cgroup2" : dash[1] == "cgroup" && lists(dash[3], controller);
    if (matches) {
      const fs::path mount = root / fs::path(parts[4]).relative_path();
      return Hierarchy{controller, mount, folder_of(mount, parts[3], *path)};
    }
  }
  return std::nullopt;
}

/// The smallest `limit(folder)` over the process's cgroup and those above it, up to the mount.
std::int64_t smallest(const std::optional<Hierarchy>& tree, const std::function<std::int64_t(const fs::path&)>& limit) {
  std::int64_t minimum = no_limit;
  if (tree) {
    fs::path folder = tree->folder;
    for (; folder != tree->mount && folder.has_relative_path(); folder = folder.parent_path()) {
      minimum = std::min(minimum, limit(folder));
    }
    minimum = std::min(minimum, limit(tree->mount));
  }
  return minimum;
}

std::optional<std::int64_t> number(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end != text.data() ? std::optional(value) : std::nullopt;
}

/// The word at index `word` of a file as a number; nothing for "max" or if the file doesn't exist.
std::optional<std::int64_t> number_in(const fs::path& file, int word = 0) {
  std::ifstream stream(file);
  std::string text;
  for (int i = 0; i <= word; ++i) {
    text.clear();
    stream >> text;
  }
  return number(text);
}

/// The number after `key` in lines "KEY NUMBER"; 0 if there is none.
std::int64_t statistic(const fs::path& file, const std::string& key) {
  std::ifstream stream(file);
  std::string name;
  for (std::int64_t value = 0; stream >> name >> value;) {
    if (name == key) {
      return value;
    }
  }
  return 0;
}

std::int64_t cores(std::optional<std::int64_t> quota, std::optional<std::int64_t> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0) {
    return no_limit;
  }
  return (*quota + *period - 1) / *period;
}

std::int64_t bytes_left(std::optional<std::int64_t> limit, std::optional<std::int64_t> usage, std::int64_t cache) {
  return limit ? std::max<std::int64_t>(*limit - std::max<std::int64_t>(usage.value_or(0) - cache, 0), 0) : no_limit;
}

}  // namespace

std::int64_t cgroup_cores(const fs::path& root) {
  const std::int64_t unified = smallest(hierarchy(root, ""), [](const fs::path& folder) {
    return cores(number_in(folder / "cpu.max"), number_in(folder / "cpu.max", 1));
  });
  const std::int64_t separate = smallest(hierarchy(root, "cpu"), [](const fs::path& folder) {
    return cores(number_in(folder / "cpu.cfs_quota_us"), number_in(folder / "cpu.cfs_period_us"));
  });
  return std::min(unified, separate);
}

std::int64_t cgroup_memory(const fs::path& root) {
  const std::int64_t unified = smallest(hierarchy(root, ""), [](const fs::path& folder) {
    return bytes_left(number_in(folder / "memory.max"), number_in(folder / "memory.current"),
                      statistic(folder / "memory.stat", "inactive_file"));
  });
  const std::int64_t separate = smallest(hierarchy(root, "memory"), [](const fs::path& folder) {
    return bytes_left(number_in(folder / "memory.limit_in_bytes"), number_in(folder / "memory.usage_in_bytes"),
                      statistic(folder / "memory.stat", "total_inactive_file"));
  });
  return std::min(unified, separate);
}

std::int64_t system_memory(const fs::path& root) {
  const auto kibibytes = number(field(root / "proc/meminfo", "MemAvailable"));
  return kibibytes ? *kibibytes * 1024 : no_limit;
}

std::string field(const fs::path& file, const std::string& key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos || line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1) != key) {
      continue;
    }
    const auto start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

std::string cpu_isa_of(const std::string& flags) {
  const std::vector<std::string> all = words(flags, ' ');
  const auto has = [&](const char* flag) { return std::find(all.begin(), all.end(), flag) != all.end(); };
  if (!has("avx2") || !has("fma")) {
    return "none";
  }
  if (!has("avx512f") || !has("avx512bw") || !has("avx512vl") || !has("avx512dq")) {
    return "avx2";
  }
  if (!has("avx512_bf16")) {
    return "avx512";
  }
  return has("amx_tile") && has("amx_bf16") ? "avx512_amx" : "avx512_bf16";
}

}  // namespace base
}  // namespace facet
