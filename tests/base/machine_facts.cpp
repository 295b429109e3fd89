#include "base/machine_facts.h"

#include <doctest/doctest.h>

#include "temporary_folder.h"

using facet::TemporaryFolder;
using facet::write_file;
using namespace facet::base;  // NOLINT(google-build-using-namespace)

namespace {

void write_cache(const TemporaryFolder& root, const std::string& core, int index, const std::string& level,
                 const std::string& size, const std::string& cores) {
  const std::filesystem::path folder = "sys/devices/system/cpu/" + core + "/cache/index" + std::to_string(index);
  write_file(root / (folder / "level"), level + "\n");
  write_file(root / (folder / "size"), size + "\n");
  write_file(root / (folder / "shared_cpu_list"), cores + "\n");
}

}  // namespace

TEST_CASE("second-level cache: the first core's") {
  const TemporaryFolder root;
  CHECK(second_level_cache_bytes(root.path()) == 0);
  write_cache(root, "cpu0", 0, "1", "48K", "0");
  write_cache(root, "cpu0", 1, "2", "2048K", "0");
  CHECK(second_level_cache_bytes(root.path()) == 2 << 20);
}

TEST_CASE("last-level cache: each that cores share counts once") {
  const TemporaryFolder root;
  CHECK(last_level_cache_bytes(root.path()) == 0);
  for (const std::string core : {"cpu0", "cpu1", "cpu2"}) {
    write_cache(root, core, 0, "2", "1024K", core.substr(3));
    write_cache(root, core, 1, "3", "32M", core == "cpu2" ? "2-3" : "0-1");
  }
  write_file(root / "sys/devices/system/cpu/online", "0-2\n");
  CHECK(last_level_cache_bytes(root.path()) == 64 << 20);
}

TEST_CASE("frequency: of /proc/cpuinfo, else of cpufreq, else nothing") {
  const TemporaryFolder root;
  CHECK(cpu_frequency_mhz(root.path()) == 0);
  write_file(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1800000\n");
  CHECK(cpu_frequency_mhz(root.path()) == 1800);
  write_file(root / "proc/cpuinfo", "processor\t: 0\ncpu MHz\t\t: 2599.998\n");
  CHECK(cpu_frequency_mhz(root.path()) == doctest::Approx(2599.998));
}

TEST_CASE("huge pages: the policy in force, and what lies on them") {
  const TemporaryFolder root;
  CHECK(huge_page_policy(root.path()).empty());
  CHECK(huge_page_bytes(root.path()) == 0);
  write_file(root / "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  write_file(root / "proc/self/smaps_rollup",
             "5555-7777 ---p 0 00:00 0 [rollup]\nRss: 9 kB\nAnonHugePages:  4096 kB\n");
  CHECK(huge_page_policy(root.path()) == "madvise");
  CHECK(huge_page_bytes(root.path()) == 4096 << 10);
  write_file(root / "proc/self/status", "Name:\tfacet\nTHP_enabled:\t1\n");
  CHECK(huge_page_policy(root.path()) == "madvise");
  write_file(root / "proc/self/status", "Name:\tfacet\nTHP_enabled:\t0\n");
  CHECK(huge_page_policy(root.path()) == "never");
}
