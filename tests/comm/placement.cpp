#include "comm/placement.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/cpus.h"
#include "base/machine.h"
#include "comm/ranks.h"
#include "facet/process_group.h"

using namespace facet;
using namespace facet::comm;  // NOLINT(google-build-using-namespace)
using facet::base::no_limit;
using facet::base::Topology;
using facet::test::run_ranks;

namespace {

using Cpus = std::vector<int>;
using Texts = std::vector<std::string>;

Cpus range(int begin, int end) {
  Cpus cpus(static_cast<std::size_t>(end - begin));
  std::iota(cpus.begin(), cpus.end(), begin);
  return cpus;
}

std::vector<GivenCpus> each_given(int ranks, const Cpus& cpus) {
  return std::vector<GivenCpus>(static_cast<std::size_t>(ranks), GivenCpus{.cpus = cpus});
}

/// The CPUs of the places by local rank: "0-3 4-7"; with the number of ranks that share them where it isn't 1: "0-1x2".
std::string text_of(const std::vector<Place>& places) {
  std::string text;
  for (const Place& place : places) {
    text += (text.empty() ? "" : " ") + base::cpu_list(place.cpus);
    if (place.sharing > 1) text += "x" + std::to_string(place.sharing);
  }
  return text;
}

std::string divided(const char* machine, int ranks, const Cpus& cpus, std::int64_t quota = no_limit) {
  return text_of(place_ranks(Topology(machine), each_given(ranks, cpus), quota));
}

constexpr const char* packages = "pack:2 numa:1 l3:1 core:8 pu:1";

}  // namespace

TEST_CASE("ranks that were given the same CPUs divide their cores by local rank") {
  CHECK(divided(packages, 1, range(0, 16)) == "0-15");
  CHECK(divided(packages, 2, range(0, 16)) == "0-7 8-15");
  CHECK(divided(packages, 4, range(0, 16)) == "0-3 4-7 8-11 12-15");
  CHECK(divided(packages, 16, range(0, 16)) == "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15");
  CHECK(place_ranks(Topology(packages), each_given(2, range(0, 16)), no_limit)[1].is_divided);
  CHECK(!place_ranks(Topology(packages), each_given(1, range(0, 16)), no_limit)[0].is_divided);
}

TEST_CASE("a rank spans two NUMA nodes only where all ranks then have more cores") {
  CHECK(divided(packages, 3, range(0, 16)) == "0-4 5-9 10-15");           // 5 cores at least, not 4
  CHECK(divided(packages, 5, range(0, 16)) == "0-2 3-5 6-8 9-11 12-15");  // 3, not 2
  CHECK(divided("pack:2 numa:1 core:4 pu:1", 3, range(0, 8)) == "0-1 2-3 4-7");
  CHECK(divided("pack:4 numa:1 core:3 pu:1", 7, range(0, 12)) == "0 1-2 3 4-5 6-8 9 10-11");
  CHECK(divided("pack:4 numa:1 core:4 pu:1", 2, range(0, 16)) == "0-7 8-15");
  CHECK(divided("pack:1 numa:4 core:4 pu:1", 4, range(0, 16)) == "0-3 4-7 8-11 12-15");
  // Other nodes have fewer usable cores.
  CHECK(divided(packages, 3, range(0, 12)) == "0-3 4-7 8-11");
  CHECK(divided(packages, 2, range(0, 14)) == "0-6 7-13");
  CHECK(divided("pack:2 numa:1 core:9 pu:1", 2, range(0, 17)) == "0-8 9-16");
  CHECK(divided("pack:3 numa:1 core:8 pu:1", 4, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}) ==
        "0-3 4-7 8-11 12-15");
}

TEST_CASE("hyper-threads of a core stay together") {
  constexpr const char* machine = "pack:2 numa:1 core:2 pu:2(indexes=0,4,1,5,2,6,3,7)";
  CHECK(divided(machine, 2, range(0, 8)) == "0-1,4-5 2-3,6-7");
  CHECK(divided(machine, 4, range(0, 8)) == "0,4 1,5 2,6 3,7");
  CHECK(divided(machine, 2, {0, 1, 5, 7}) == "0-1,5 7");
  CHECK(divided(machine, 5, range(0, 8)) == "0-7x5 0-7x5 0-7x5 0-7x5 0-7x5");
}

TEST_CASE("CPUs that are numbered through the packages in turn are divided by package") {
  CHECK(divided("pack:2 numa:1 core:2 pu:1(indexes=0,2,1,3)", 2, range(0, 4)) == "0,2 1,3");
}

TEST_CASE("fewer cores than ranks, or a CPU quota below the cores, are shared") {
  CHECK(divided(packages, 3, {2, 3}) == "2-3x3 2-3x3 2-3x3");
  CHECK(divided(packages, 2, range(0, 16), 8) == "0-15x2 0-15x2");
  CHECK(divided(packages, 2, range(0, 16), 16) == "0-7 8-15");
}

TEST_CASE("ranks divide a CPU quota that is less than their cores") {
  CHECK(ranks_in_quota(16, 64, no_limit) == 1);
  for (const int own : {5, 6}) CHECK(ranks_in_quota(own, 16, 16) == 1);  // 5 + 5 + 6
  CHECK(ranks_in_quota(4, 16, 8) == 2);                                  // 4 ranks with 4 cores of their own
  CHECK(ranks_in_quota(8, 16, 8) == 2);
  CHECK(ranks_in_quota(8, 16, 4) == 2);   // of the 4 that one alone would use
  CHECK(ranks_in_quota(16, 64, 8) == 4);  // 4 ranks on the same 16 cores
  CHECK(ranks_in_quota(14, 16, 8) == 2);  // 14 + 2
  CHECK(ranks_in_quota(2, 16, 8) == 2);
  CHECK(ranks_in_quota(5, 16, 15) == 2);  // 15 cores are less than 5 + 5 + 6
}

TEST_CASE("what the launcher has bound is used as it is") {
  const Topology machine(packages);
  const auto placed = [&](const std::vector<Cpus>& masks) {
    std::vector<GivenCpus> given;
    for (const Cpus& cpus : masks) given.push_back({.cpus = cpus});
    return text_of(place_ranks(machine, given, no_limit));
  };
  CHECK(placed({range(0, 4), range(4, 8)}) == "0-3 4-7");
  CHECK(placed({{0}, range(1, 16)}) == "0 1-15");
  // In turn to a package each.
  CHECK(placed({range(0, 8), range(8, 16), range(0, 8), range(8, 16)}) == "0-3 8-11 4-7 12-15");
  CHECK(placed({range(0, 8), range(8, 16), range(0, 8)}) == "0-3 8-15 4-7");
  // Masks that overlap and differ.
  CHECK(placed({range(0, 8), range(4, 12)}) == "0-7x2 4-11x2");
  CHECK(placed({range(0, 8), range(0, 8), range(4, 12), {15}}) == "0-7x3 0-7x3 4-11x3 15");
}

TEST_CASE("ranks on two hyper-threads of a core overlap") {
  const Topology machine("pack:1 core:2 pu:2");
  CHECK(text_of(place_ranks(machine, {{.cpus = {0}}, {.cpus = {1}}}, no_limit)) == "0x2 1x2");
  CHECK(text_of(place_ranks(machine, {{.cpus = {0}}, {.cpus = {3}}}, no_limit)) == "0 3");
}

TEST_CASE("OpenMP's places are used as they are") {
  std::vector<GivenCpus> given = each_given(2, range(0, 16));
  given[1].has_places = true;
  CHECK(text_of(place_ranks(Topology(packages), given, no_limit)) == "0-15x2 0-15x2");
}

namespace {

/// Ranks on hosts of 64 cores, each rank with `cores` cores of its own.
std::vector<PlacedRank> placed_ranks(int hosts, int on_host, int cores) {
  std::vector<PlacedRank> ranks;
  for (int r = 0; r < hosts * on_host; ++r) {
    const int host = r / on_host, local = r % on_host;
    ranks.push_back({.host = host * on_host,
                     .host_name = "node" + std::to_string(host),
                     .place = {.cpus = range(local * cores, (local + 1) * cores)},
                     .cores = cores,
                     .host_cores = 64});
  }
  return ranks;
}

/// Ranks of one host that all may use its CPUs below `cores`.
std::vector<PlacedRank> overlapping_ranks(int count, int cores, int host_cores) {
  std::vector<PlacedRank> ranks = placed_ranks(1, count, 1);
  for (PlacedRank& rank : ranks) {
    rank.place = {.cpus = range(0, cores), .sharing = count};
    rank.cores = cores;
    rank.host_cores = host_cores;
  }
  return ranks;
}

}  // namespace

TEST_CASE("the placement of ranks in one line") {
  CHECK(describe(placed_ranks(1, 4, 16)) == "4 on 1 host, 16 cores each: CPUs 0-15; 16-31; 32-47; 48-63");
  CHECK(describe(placed_ranks(2, 2, 1)) == "4 on 2 hosts, 1 core each: CPUs 0; 1 of each");
  CHECK(describe(placed_ranks(2, 1, 1)) == "2 on 2 hosts, 1 core each: CPU 0 of each");
  CHECK(describe(placed_ranks(16, 64, 1)) == "1024 on 16 hosts, 1 core each");
  std::vector<PlacedRank> ranks = placed_ranks(1, 2, 3);
  for (PlacedRank& rank : ranks) rank.place.is_divided = true;
  ranks[1].cores = 4;
  ranks[1].place.cpus = range(3, 7);
  CHECK(describe(ranks) == "2 on 1 host, 3 to 4 cores each, divided by local rank: CPUs 0-2; 3-6");
  ranks = placed_ranks(2, 2, 3);
  ranks[3].place.cpus = range(8, 11);
  CHECK(describe(ranks) == "4 on 2 hosts, 3 cores each");
  CHECK(describe(overlapping_ranks(3, 2, 2)) == "3 on 1 host, sharing 2 cores: CPUs 0-1");
  ranks = overlapping_ranks(2, 2, 4);
  ranks[1].place.cpus = range(1, 3);
  CHECK(describe(ranks) == "2 on 1 host, some on the same cores: CPUs 0-1; 1-2");
}

TEST_CASE("ranks with half of their host's cores or less are told the flags that give them all") {
  CHECK(placement_problems(placed_ranks(1, 4, 16), Launcher::open_mpi, 0).empty());
  CHECK(placement_problems(placed_ranks(1, 3, 16), Launcher::open_mpi, 0).empty());
  CHECK(placement_problems(placed_ranks(1, 2, 1), Launcher::open_mpi, 0) ==
        Texts{"each rank may use 1 of 64 cores; mpirun --map-by slot:PE=32 --bind-to core gives each 32"});
  CHECK(placement_problems(placed_ranks(1, 1, 1), Launcher::open_mpi, 0) ==
        Texts{"the rank may use 1 of 64 cores; mpirun --map-by slot:PE=64 --bind-to core gives it 64"});
  CHECK(placement_problems(placed_ranks(2, 3, 2), Launcher::open_mpi, 0) ==
        Texts{"each rank on node0 may use 2 of 64 cores; mpirun --map-by ppr:3:node:PE=21 --bind-to core gives each "
              "21"});
  CHECK(placement_problems(placed_ranks(1, 2, 1), Launcher::hydra, 0) ==
        Texts{"each rank may use 1 of 64 cores; mpiexec -bind-to core:32 gives each 32"});
  CHECK(placement_problems(placed_ranks(1, 2, 1), Launcher::none, 0) ==
        Texts{"each rank may use 1 of 64 cores; a launcher that binds ranks to cores gives each 32"});
  std::vector<PlacedRank> ranks = placed_ranks(1, 2, 1);
  for (PlacedRank& rank : ranks) rank.cpus_per_core = 2;  // Slurm counts hyper-threads
  CHECK(placement_problems(ranks, Launcher::srun, 0) ==
        Texts{"each rank may use 1 of 64 cores; srun --cpus-per-task=64 gives each 32"});
  // Without a launcher, one process has the cores that its user wants it to have.
  CHECK(placement_problems(placed_ranks(1, 1, 1), Launcher::none, 0).empty());
}

TEST_CASE("the CPUs of the nodes of a job of Slurm") {
  CHECK(least_slurm_cpus("16") == 16);
  CHECK(least_slurm_cpus("16(x2),8") == 8);
  CHECK(least_slurm_cpus("8,128(x12)") == 8);
  for (const char* text : {"", ",", "x", "(x2),"}) CHECK(least_slurm_cpus(text) == 0);
}

TEST_CASE("the number of threads decides on the cores, where it is given") {
  const std::vector<PlacedRank> ranks = placed_ranks(1, 2, 1);
  CHECK(placement_problems(ranks, Launcher::open_mpi, 1).empty());
  CHECK(placement_problems(ranks, Launcher::open_mpi, 8) ==
        Texts{"each rank may use 1 of 64 cores; mpirun --map-by slot:PE=8 --bind-to core gives each 8"});
  CHECK(placement_problems(ranks, Launcher::open_mpi, 33).empty());  // no flags give it these
}

TEST_CASE("ranks on the same cores are told") {
  CHECK(placement_problems(overlapping_ranks(3, 2, 2), Launcher::open_mpi, 0) ==
        Texts{"3 ranks share 2 cores; more ranks than cores are slow"});
  CHECK(placement_problems(overlapping_ranks(3, 1, 12), Launcher::open_mpi, 0) ==
        Texts{"3 ranks share 1 core; mpirun --map-by slot:PE=4 --bind-to core gives each 4 cores of its own"});
  CHECK(placement_problems(overlapping_ranks(2, 8, 8), Launcher::open_mpi, 0).empty());  // of a larger host's quota
  std::vector<PlacedRank> ranks = overlapping_ranks(2, 8, 64);
  ranks[1].place.cpus = range(4, 12);
  CHECK(placement_problems(ranks, Launcher::srun, 0) ==
        Texts{"ranks may use the same cores (CPUs 0-7; 4-11); srun --cpus-per-task=32 gives each 32 cores of its own"});
  ranks = overlapping_ranks(2, 8, 64);
  for (PlacedRank& rank : ranks) rank.has_places = true;
  CHECK(placement_problems(ranks, Launcher::open_mpi, 0) ==
        Texts{"ranks may use the same cores (CPUs 0-7); mpirun --map-by slot:PE=32 --bind-to core gives each 32 cores "
              "of its own"});
}

TEST_CASE("each rank computes on cores of its own, where there are enough") {
  if (base::openmp_binds()) {
    MESSAGE("skipped: the environment makes OpenMP bind threads");
    return;
  }
  for (const int size : {2, 3, 4}) {
    run_ranks(size, [&](ProcessGroup& group) {
      const Cpus own = group.communicator().cpus();
      const Texts lists = group.gather(base::cpu_list(own));
      const ProcessGroup first =
          group.first(1);  // on rank 0 with the CPUs that all were given: tests start them unbound
      const auto given = std::ssize(Topology::machine().by_core(first.communicator().cpus()));
      const std::int64_t cores = group.max(group.rank() == 0 ? given : 0);
      const bool is_divided = cores >= size && base::cgroup_cores("/") >= cores;
      CAPTURE(group.placement());
      CHECK(group.communicator().placed_ranks()[0].place.is_divided == is_divided);
      CHECK(group.sharing_cores() == (is_divided ? 1 : size));
      CHECK((lists[0] != lists[1]) == is_divided);
      if (facet::test::launched_group() == nullptr) return;  // threads of one process
      CHECK(base::affinity() == own);
      Cpus of_thread;
      std::thread([&] { of_thread = base::affinity(); }).join();
      CHECK(of_thread == own);
      if (group.rank() == 0) {
        first.bind();
        CHECK(base::affinity() == first.communicator().cpus());
        CHECK(first.sharing_cores() == 1);
        group.bind();
      }
      CHECK(base::affinity() == own);
    });
  }
}
