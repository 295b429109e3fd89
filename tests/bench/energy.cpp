#include "energy.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <optional>
#include <string>

#include "testing.h"

using namespace facet;

namespace {

void set_counter(const TemporaryFolder& folder, const std::string& domain, const std::string& name,
                 const std::string& microjoules) {
  write_file(folder / domain / "name", name + "\n");
  write_file(folder / domain / "energy_uj", microjoules + "\n");
  write_file(folder / domain / "max_energy_range_uj", "1000000000\n");
}

}  // namespace

TEST_CASE("energy is that of all packages, without their parts, also where a counter begins again") {
  const TemporaryFolder folder;
  set_counter(folder, "intel-rapl:0", "package-0", "5000000");
  set_counter(folder, "intel-rapl:0:0", "core", "1");
  set_counter(folder, "intel-rapl:1", "package-1", "999000000");
  set_counter(folder, "intel-rapl-mmio:0", "package-0", "1");
  set_counter(folder, "intel-rapl:2", "psys", "1");
  const bench::PackageEnergy energy(folder.path());
  CHECK(energy.joules() == 0.0);
  set_counter(folder, "intel-rapl:2", "psys", "90000000");
  set_counter(folder, "intel-rapl:0", "package-0", "7500000");
  set_counter(folder, "intel-rapl:0:0", "core", "2000000");
  set_counter(folder, "intel-rapl:1", "package-1", "1000000");
  CHECK(energy.joules().value() == doctest::Approx(2.5 + 2));
}

TEST_CASE("no energy is told where the system counts none, or a counter is gone") {
  const TemporaryFolder folder;
  CHECK(!bench::PackageEnergy(folder.path()).joules());
  CHECK(!bench::PackageEnergy(folder / "nowhere").joules());
  set_counter(folder, "intel-rapl:0", "package-0", "1");
  const bench::PackageEnergy energy(folder.path());
  std::filesystem::remove(folder / "intel-rapl:0" / "energy_uj");
  CHECK(!energy.joules());
}
