#include <doctest/doctest.h>

#include <algorithm>

#include "base/random.h"
#include "program/memory.h"

namespace facet::program {
namespace {

bool live_together(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

void check_plan(const std::vector<Lifetime>& lifetimes) {
  const MemoryPlan plan = plan_memory(lifetimes);
  REQUIRE(plan.offsets.size() == lifetimes.size());
  std::size_t sum = 0, needed = 0;
  bool apart = true, inside = true, aligned = true;
  for (std::size_t i = 0; i < lifetimes.size(); ++i) {
    if (lifetimes[i].bytes == 0 || lifetimes[i].first < 0) continue;
    sum += (lifetimes[i].bytes + 127) / 128 * 128;
    inside = inside && plan.offsets[i] + lifetimes[i].bytes <= plan.bytes;
    aligned = aligned && plan.offsets[i] % 128 == 0;
    for (std::size_t j = 0; j < i; ++j) {
      if (lifetimes[j].bytes == 0 || lifetimes[j].first < 0 || !live_together(lifetimes[i], lifetimes[j])) continue;
      apart = apart && (plan.offsets[i] + lifetimes[i].bytes <= plan.offsets[j] ||
                        plan.offsets[j] + lifetimes[j].bytes <= plan.offsets[i]);
    }
  }
  for (int instruction = 0; instruction < 200; ++instruction) {
    std::size_t live = 0;
    for (const Lifetime& lifetime : lifetimes)
      if (lifetime.first <= instruction && instruction <= lifetime.last) live += lifetime.bytes;
    needed = std::max(needed, live);
  }
  CHECK(apart);
  CHECK(inside);
  CHECK(aligned);
  CHECK(peak_bytes(lifetimes) == needed);
  CHECK(plan.bytes >= needed);
  CHECK(plan.bytes <= sum);
}

}  // namespace

TEST_CASE("memory plan: buffers that are live at the same time don't overlap") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    CAPTURE(seed);
    base::RandomStream random(seed, base::Purpose::synthesis);
    std::vector<Lifetime> lifetimes(random.below(60));
    for (Lifetime& lifetime : lifetimes) {
      lifetime.bytes = random.below(5) == 0 ? random.below(3) : random.below(100000);
      lifetime.first = static_cast<int>(random.below(150));
      lifetime.last = lifetime.first + static_cast<int>(random.below(40));
    }
    check_plan(lifetimes);
  }
}

TEST_CASE("memory plan: buffers with disjoint lifetimes share memory") {
  CHECK(plan_memory({{1024, 0, 1}, {1024, 2, 3}, {1024, 4, 9}}).bytes == 1024);
  CHECK(plan_memory({{1024, 0, 2}, {1024, 2, 3}}).bytes == 2048);
  CHECK(plan_memory({{1000, 0, 2}, {10, 1, 3}}).bytes <= 1024 + 128);
}

TEST_CASE("memory plan: buffers that no instruction uses take no memory") {
  CHECK(plan_memory({}).bytes == 0);
  CHECK(plan_memory({{1024, -1, -1}, {0, 0, 5}}).bytes == 0);
}

}  // namespace facet::program
