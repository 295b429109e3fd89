#include "base/cpus.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <vector>

#include "base/topology.h"
#include "facet/threads.h"
#include "testing.h"

using facet::leave_openmp_place;
using namespace facet::base;  // NOLINT(google-build-using-namespace)

namespace {

using Cpus = std::vector<int>;

}  // namespace

TEST_CASE("plan_threads takes the requested numbers, and refuses those out of range") {
  const facet::ThreadPlan plan = facet::plan_threads(3, 2);
  CHECK(plan.compute == 3);
  CHECK(plan.loader == 2);
  CHECK(facet::plan_threads(0, 0).loader == 0);
  CHECK(facet::plan_threads(0, 0).compute >= 1);
  CHECK(facet::plan_threads(3, 2, 64).compute == 3);
  CHECK(facet::error_of([] { facet::plan_threads(-1, 0); }) == "threads is -1; 0 to 4096 is allowed");
  CHECK(facet::error_of([] { facet::plan_threads(0, 4097); }) == "loader_threads is 4097; 0 to 4096 is allowed");
  CHECK(facet::error_of([] { facet::plan_threads(0, 0, 0); }) == "0 processes share the cores; at least 1 is needed");
}

TEST_CASE("processes that share their cores each take a part of them") {
  if (openmp_num_threads()) {
    MESSAGE("skipped: OMP_NUM_THREADS gives a number");
    return;
  }
  const int cores = facet::plan_threads(0, 0).compute;
  CHECK(facet::plan_threads(0, 0, 1).compute == cores);
  CHECK(facet::plan_threads(0, 0, facet::max_threads).compute == 1);
  if (cores < 16) CHECK(facet::plan_threads(0, 0, 2).compute == std::max(1, cores / 2));  // else the loader has its own
}

TEST_CASE("a list of CPUs is sorted and written as ranges") {
  CHECK(cpu_list({}).empty());
  CHECK(cpu_list({7}) == "7");
  CHECK(cpu_list({0, 64, 1, 65, 2, 66, 9}) == "0-2,9,64-66");
}

TEST_CASE("a thread's affinity can be set, and usable_cpus returns it") {
  if (openmp_binds()) {
    MESSAGE("skipped: the environment makes OpenMP bind threads");
    return;
  }
  const Cpus before = affinity();
  REQUIRE(!before.empty());
  CHECK(usable_cpus() == before);
  std::thread([&] {
    set_affinity({before.back()});
    CHECK(affinity() == Cpus{before.back()});
    CHECK(usable_cpus() == Cpus{before.back()});
    leave_openmp_place();  // has no effect, since OpenMP binds no threads
    CHECK(affinity() == Cpus{before.back()});
  }).join();
  CHECK(affinity() == before);
}

TEST_CASE("openmp_num_threads returns the first number of OMP_NUM_THREADS if it is valid") {
  const auto threads_of = [](const char* text) {
    ::setenv("OMP_NUM_THREADS", text, 1);
    const std::optional<int> threads = openmp_num_threads();
    ::unsetenv("OMP_NUM_THREADS");
    return threads;
  };
  ::unsetenv("OMP_NUM_THREADS");
  CHECK(!openmp_num_threads());
  CHECK(threads_of("3") == 3);
  CHECK(threads_of(" 12,4") == 12);
  CHECK(threads_of("4096") == 4096);
  for (const char* bad : {"", "0", "-2", "x", "4x", "4097", "99999999999"}) CHECK(!threads_of(bad));

  CHECK(resolve_threads(3, 7) == 3);
  CHECK(resolve_threads(0, 7) == 7);
  ::setenv("OMP_NUM_THREADS", "5", 1);
  CHECK(resolve_threads(3, 7) == 3);
  CHECK(resolve_threads(0, 7) == 5);
  ::unsetenv("OMP_NUM_THREADS");
}
