#include "energy.h"

#include <fstream>
#include <string>
#include <system_error>

namespace facet::bench {
namespace {

/// The number in a file; empty where it can't be read.
std::optional<std::int64_t> number_in(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::int64_t number = 0;
  return stream >> number ? std::optional(number) : std::nullopt;
}

}  // namespace

PackageEnergy::PackageEnergy(const std::filesystem::path& folder) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    // intel-rapl:0 may be a package, or psys, which has all packages in it; intel-rapl:0:0 is a part of intel-rapl:0.
    if (!entry.path().filename().string().starts_with("intel-rapl:")) continue;
    std::string name;
    if (!(std::ifstream(entry.path() / "name") >> name) || !name.starts_with("package")) continue;
    const auto range = number_in(entry.path() / "max_energy_range_uj"), begin = number_in(entry.path() / "energy_uj");
    if (range && begin) packages_.push_back({entry.path() / "energy_uj", *range, *begin});
  }
}

std::optional<double> PackageEnergy::joules() const {
  double sum = 0;
  for (const Package& package : packages_) {
    const std::optional<std::int64_t> now = number_in(package.counter);
    if (!now) return std::nullopt;
    sum += static_cast<double>(*now - package.begin + (*now < package.begin ? package.range : 0)) * 1e-6;
  }
  return packages_.empty() ? std::nullopt : std::optional(sum);
}

}  // namespace facet::bench
