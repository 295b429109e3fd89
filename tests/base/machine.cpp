#include "base/machine.h"

#include <doctest/doctest.h>
#include <sched.h>

#include <thread>

#include "facet/machine.h"
#include "testing.h"

using facet::available_memory;
using facet::peak_resident_memory;
using facet::TemporaryFolder;
using facet::usable_cores;
using facet::write_file;
using namespace facet::base;  // NOLINT(google-build-using-namespace)

namespace {

/// Writes the files of a machine with cgroups v2 only, with the process in /job/task.
void write_unified(const TemporaryFolder& root) {
  write_file(root / "proc/self/cgroup", "0::/job/task\n");
  write_file(root / "proc/self/mountinfo",
             "22 1 0:20 / /proc rw,relatime - proc proc rw\n"
             "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  write_file(root / "sys/fs/cgroup/job/task/cpu.max", "max 100000\n");
  write_file(root / "sys/fs/cgroup/job/task/memory.max", "max\n");
}

/// Writes the files of a machine with cgroups v1, with a hierarchy for each controller.
void write_separate(const TemporaryFolder& root) {
  write_file(root / "proc/self/cgroup", "5:memory:/slurm/job\n4:cpu,cpuacct:/slurm/job\n0::/\n");
  write_file(root / "proc/self/mountinfo",
             "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
             "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  write_file(root / "sys/fs/cgroup/cpu,cpuacct/slurm/job/cpu.cfs_quota_us", "-1\n");
  write_file(root / "sys/fs/cgroup/memory/slurm/job/memory.limit_in_bytes", "9223372036854771712\n");
}

}  // namespace

TEST_CASE("cgroups v2: the smallest CPU quota of the cgroup and its ancestors counts, rounded up") {
  const TemporaryFolder root;
  write_unified(root);
  CHECK(cgroup_cores(root.path()) == no_limit);
  write_file(root / "sys/fs/cgroup/job/cpu.max", "250000 100000\n");
  CHECK(cgroup_cores(root.path()) == 3);
  write_file(root / "sys/fs/cgroup/job/task/cpu.max", "50000 100000\n");
  CHECK(cgroup_cores(root.path()) == 1);
  write_file(root / "sys/fs/cgroup/job/task/cpu.max", "400000 100000\n");
  CHECK(cgroup_cores(root.path()) == 3);
}

TEST_CASE("cgroups v2: the smallest free memory of the cgroup and its ancestors counts, inactive file cache included") {
  const TemporaryFolder root;
  write_unified(root);
  CHECK(cgroup_memory(root.path()) == no_limit);
  write_file(root / "sys/fs/cgroup/job/memory.max", "1000000\n");
  write_file(root / "sys/fs/cgroup/job/memory.current", "700000\n");
  CHECK(cgroup_memory(root.path()) == 300000);
  write_file(root / "sys/fs/cgroup/job/memory.stat", "anon 100\nactive_file 5\ninactive_file 200000\n");
  CHECK(cgroup_memory(root.path()) == 500000);
  write_file(root / "sys/fs/cgroup/job/task/memory.max", "400000\n");
  write_file(root / "sys/fs/cgroup/job/task/memory.current", "100000\n");
  CHECK(cgroup_memory(root.path()) == 300000);
  write_file(root / "sys/fs/cgroup/job/task/memory.current", "500000\n");
  CHECK(cgroup_memory(root.path()) == 0);
}

TEST_CASE("cgroups v1: quota and memory limit are read from their own hierarchies") {
  const TemporaryFolder root;
  write_separate(root);
  CHECK(cgroup_cores(root.path()) == no_limit);
  CHECK(cgroup_memory(root.path()) > std::int64_t{1} << 60);
  write_file(root / "sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_quota_us", "150000\n");
  write_file(root / "sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_period_us", "100000\n");
  CHECK(cgroup_cores(root.path()) == 2);
  write_file(root / "sys/fs/cgroup/memory/slurm/memory.limit_in_bytes", "5000000\n");
  write_file(root / "sys/fs/cgroup/memory/slurm/memory.usage_in_bytes", "3000000\n");
  write_file(root / "sys/fs/cgroup/memory/slurm/memory.stat", "inactive_file 7\ntotal_inactive_file 1000000\n");
  CHECK(cgroup_memory(root.path()) == 3000000);
}

TEST_CASE("in a container, the root of the mount is removed from the cgroup's path") {
  const TemporaryFolder root;
  write_file(root / "proc/self/cgroup", "0::/docker/abc/inner\n");
  write_file(root / "proc/self/mountinfo", "31 23 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
  write_file(root / "sys/fs/cgroup/inner/cpu.max", "100000 100000\n");
  CHECK(cgroup_cores(root.path()) == 1);
  write_file(root / "proc/self/cgroup", "0::/../elsewhere\n");
  write_file(root / "sys/fs/cgroup/cpu.max", "700000 100000\n");
  CHECK(cgroup_cores(root.path()) == 7);
}

TEST_CASE("there is no limit without cgroups or meminfo, or with invalid values") {
  const TemporaryFolder root;
  CHECK(cgroup_cores(root.path()) == no_limit);
  CHECK(cgroup_memory(root.path()) == no_limit);
  CHECK(system_memory(root.path()) == no_limit);
  write_unified(root);
  write_file(root / "sys/fs/cgroup/job/task/cpu.max", "");
  write_file(root / "sys/fs/cgroup/job/task/memory.max", "garbage\n");
  CHECK(cgroup_cores(root.path()) == no_limit);
  CHECK(cgroup_memory(root.path()) == no_limit);
}

TEST_CASE("meminfo and cpuinfo: the first line with the key counts") {
  const TemporaryFolder root;
  write_file(root / "proc/meminfo", "MemTotal:       2000 kB\nMemAvailable:   1000 kB\n");
  CHECK(system_memory(root.path()) == 1024000);
  write_file(root / "cpuinfo", "model\t\t: 17\nmodel name\t: A: CPU\nempty\t:\n\nmodel name\t: B\n");
  CHECK(field(root / "cpuinfo", "model name") == "A: CPU");
  CHECK(field(root / "cpuinfo", "empty").empty());
  CHECK(field(root / "cpuinfo", "flags").empty());
}

TEST_CASE("the CPU ISA is the best one of which the CPU has all required flags") {
  const std::string avx512 = "fpu fma avx2 avx512f avx512dq avx512bw avx512vl";
  CHECK(cpu_isa_of("") == "none");
  CHECK(cpu_isa_of("avx2") == "none");
  CHECK(cpu_isa_of("fma avx2") == "avx2");
  CHECK(cpu_isa_of("fma avx2 avx512f") == "avx2");
  CHECK(cpu_isa_of(avx512) == "avx512");
  CHECK(cpu_isa_of(avx512 + " avx512_bf16") == "avx512_bf16");
  CHECK(cpu_isa_of(avx512 + " avx512_bf16 amx_tile") == "avx512_bf16");
  CHECK(cpu_isa_of(avx512 + " avx512_bf16 amx_bf16 amx_tile") == "avx512_amx");
}

TEST_CASE("this machine: an affinity mask of one core leaves one core") {
  const int cores = usable_cores();
  CHECK(cores >= 1);
  std::thread([] {
    cpu_set_t before;
    REQUIRE(::sched_getaffinity(0, sizeof before, &before) == 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &before)) {
        CPU_SET(core, &one);
        break;
      }
    }
    REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(usable_cores() == 1);
  }).join();
  CHECK(usable_cores() == cores);
}

TEST_CASE("this machine: memory") {
  CHECK(available_memory() > 0);
  CHECK(available_memory() < no_limit);
  CHECK(peak_resident_memory() > 1 << 20);
}

TEST_CASE("the frequency is read from /proc/cpuinfo, otherwise from cpufreq, otherwise it is 0") {
  const TemporaryFolder root;
  CHECK(cpu_frequency_mhz(root.path()) == 0);
  write_file(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1800000\n");
  CHECK(cpu_frequency_mhz(root.path()) == 1800);
  write_file(root / "proc/cpuinfo", "processor\t: 0\ncpu MHz\t\t: 2599.998\n");
  CHECK(cpu_frequency_mhz(root.path()) == doctest::Approx(2599.998));
}

TEST_CASE("huge pages: the current policy, and the bytes on them") {
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
