#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace facet::bench {

/// The energy that all CPU packages use, as RAPL counts it (Linux: powercap). Reading the counters often takes root's
/// rights.
class PackageEnergy {
 public:
  /// Begins to count. @param folder the folder of the domains, intel-rapl:0 and so on, which AMD's CPUs have too.
  explicit PackageEnergy(const std::filesystem::path& folder = "/sys/class/powercap");

  /// Joules since the constructor; empty where the system tells none. A counter that has begun again once is known.
  std::optional<double> joules() const;

 private:
  struct Package {
    std::filesystem::path counter;  ///< microjoules
    std::int64_t range, begin;
  };
  std::vector<Package> packages_;
};

}  // namespace facet::bench
