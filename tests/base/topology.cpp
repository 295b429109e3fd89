#include "base/topology.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "base/cpus.h"
#include "testing.h"

using namespace facet::base;  // NOLINT(google-build-using-namespace)

namespace {

using Cpus = std::vector<int>;
using Cores = std::vector<Core>;
using Nodes = std::vector<Cores>;

}  // namespace

TEST_CASE("by_core groups the given CPUs by core, in the order of the list") {
  const Topology machine("pack:1 core:4 pu:2");
  CHECK(machine.by_core({}).empty());
  CHECK(machine.by_core({0, 1, 2, 3, 7}) == Cores{{0, {0, 1}}, {2, {2, 3}}, {6, {7}}});
  CHECK(machine.by_core({5, 1, 4}) == Cores{{4, {5, 4}}, {0, {1}}});
  CHECK(machine.by_core({9}) == Cores{{9, {9}}});  // the machine has no such CPU
}

TEST_CASE("by_core knows hyper-threads whose numbers are far apart") {
  const Topology machine("pack:1 core:4 pu:2(indexes=0,4,1,5,2,6,3,7)");
  CHECK(machine.by_core({0, 1, 5, 6}) == Cores{{0, {0}}, {1, {1, 5}}, {2, {6}}});
}

TEST_CASE("by_node groups cores by NUMA node in the machine's order") {
  const Topology packages("pack:2 numa:1 core:2 pu:1");
  CHECK(packages.by_node({}).empty());
  CHECK(packages.by_node({3, 1, 0, 2}) == Nodes{{{0, {0}}, {1, {1}}}, {{2, {2}}, {3, {3}}}});
  CHECK(packages.by_node({3, 1}) == Nodes{{{1, {1}}}, {{3, {3}}}});
  const Topology clusters("pack:2 numa:2 core:1 pu:2");
  CHECK(clusters.by_node({0, 1, 2, 3, 5}) == Nodes{{{0, {0, 1}}}, {{2, {2, 3}}}, {{4, {5}}}});
  // One node has the memory of both packages.
  const Topology interleaved("numa:1 pack:2 core:2 pu:1");
  CHECK(interleaved.by_node({0, 1, 2, 3}) == Nodes{{{0, {0}}, {1, {1}}}, {{2, {2}}, {3, {3}}}});
  // CPUs are numbered through the packages in turn.
  const Topology in_turn("pack:2 numa:1 core:2 pu:1(indexes=0,2,1,3)");
  CHECK(in_turn.by_node({0, 1, 2, 3}) == Nodes{{{0, {0}}, {2, {2}}}, {{1, {1}}, {3, {3}}}});
}

TEST_CASE("a last-level cache that cores share counts once, and the second-level cache is that of the first core") {
  const Topology machine("pack:2 l3:2(size=33554432) l2:2(size=1048576) core:1 pu:2");
  CHECK(machine.second_level_cache_bytes() == 1 << 20);
  CHECK(machine.last_level_cache_bytes() == 128 << 20);
  const Topology small("pack:2 l2:2(size=2097152) core:1 pu:1");
  CHECK(small.last_level_cache_bytes() == 8 << 20);
  const Topology without("pack:1 core:2 pu:1");
  CHECK(without.second_level_cache_bytes() == 0);
  CHECK(without.last_level_cache_bytes() == 0);
}

TEST_CASE("a description that hwloc doesn't know is refused") {
  CHECK(facet::error_of([] { const Topology machine("pack:x"); }) == "'pack:x' isn't a machine that hwloc knows");
}

TEST_CASE("this machine: each usable CPU is online, and is of one core") {
  const Topology& machine = Topology::machine();
  const Cpus usable = affinity();
  REQUIRE(!usable.empty());
  for (const int cpu : usable) CHECK(std::ranges::count(machine.cpus(), cpu) == 1);
  CHECK(machine.allowed_cpus().size() <= machine.cpus().size());
  Cpus found;
  for (const Cores& node : machine.by_node(usable)) {
    for (const Core& core : node) found.insert(found.end(), core.cpus.begin(), core.cpus.end());
  }
  std::ranges::sort(found);
  CHECK(found == usable);
}

TEST_CASE("the affinity mask of all threads of the process can be set") {
  if (openmp_binds()) {
    MESSAGE("skipped: the environment makes OpenMP bind threads");
    return;
  }
  const Cpus before = affinity();
  REQUIRE(!before.empty());
  Cpus of_other;
  std::atomic<bool> is_set = false;
  std::thread other([&] {
    is_set.wait(false);
    of_other = affinity();
  });
  set_process_affinity({before.back()});
  CHECK(affinity() == Cpus{before.back()});
  is_set = true;
  is_set.notify_all();
  other.join();
  CHECK(of_other == Cpus{before.back()});
  set_process_affinity(before);
  CHECK(affinity() == before);
}
