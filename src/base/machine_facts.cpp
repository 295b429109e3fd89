#include "base/machine_facts.h"

#include <cstdlib>
#include <fstream>
#include <map>

#include "base/machine_limits.h"

namespace facet::base {

namespace fs = std::filesystem;

namespace {

/// The first line of a file; "" for none.
std::string line_of(const fs::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

/// Of "480K" or "32M".
std::int64_t bytes_of(const std::string& size) {
  char* unit = nullptr;
  const std::int64_t number = std::strtoll(size.c_str(), &unit, 10);
  return *unit == 'K' ? number << 10 : *unit == 'M' ? number << 20 : number;
}

}  // namespace

double cpu_frequency_mhz(const fs::path& root) {
  const std::string told = field(root / "proc/cpuinfo", "cpu MHz");
  if (!told.empty()) return std::strtod(told.c_str(), nullptr);
  return std::strtod(line_of(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").c_str(), nullptr) / 1000;
}

std::int64_t second_level_cache_bytes(const fs::path& root) {
  std::error_code ignored;
  for (const auto& cache : fs::directory_iterator(root / "sys/devices/system/cpu/cpu0/cache", ignored)) {
    if (line_of(cache.path() / "level") == "2") return bytes_of(line_of(cache.path() / "size"));
  }
  return 0;
}

std::int64_t last_level_cache_bytes(const fs::path& root) {
  std::map<int, std::map<std::string, std::int64_t>> bytes;  // by level, by the cores that share it
  std::error_code ignored;
  for (const auto& core : fs::directory_iterator(root / "sys/devices/system/cpu", ignored)) {
    for (const auto& cache : fs::directory_iterator(core.path() / "cache", ignored)) {
      const int level = std::atoi(line_of(cache.path() / "level").c_str());
      bytes[level][line_of(cache.path() / "shared_cpu_list")] = bytes_of(line_of(cache.path() / "size"));
    }
  }
  std::int64_t total = 0;
  if (!bytes.empty()) {
    for (const auto& [cores, size] : bytes.rbegin()->second) total += size;
  }
  return total;
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

}  // namespace facet::base
