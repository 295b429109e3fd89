#include "program/memory_plan.h"

#include <algorithm>
#include <numeric>

namespace facet::program {

namespace {

constexpr std::size_t alignment = 128;

bool overlap(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

}  // namespace

MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes) {
  std::vector<int> by_size(lifetimes.size());
  std::iota(by_size.begin(), by_size.end(), 0);
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](int a, int b) { return lifetimes[a].bytes > lifetimes[b].bytes; });

  MemoryPlan plan{std::vector<std::size_t>(lifetimes.size(), 0), 0};
  std::vector<int> placed;  // by offset
  for (const int index : by_size) {
    const Lifetime& piece = lifetimes[index];
    if (piece.bytes == 0 || piece.first < 0) continue;
    std::size_t offset = 0;
    for (const int other : placed) {
      if (!overlap(piece, lifetimes[other])) continue;
      if (plan.offsets[other] >= offset + piece.bytes) break;
      const std::size_t end = plan.offsets[other] + lifetimes[other].bytes;
      offset = std::max(offset, (end + alignment - 1) / alignment * alignment);
    }
    plan.offsets[index] = offset;
    plan.bytes = std::max(plan.bytes, offset + piece.bytes);
    const auto position = std::upper_bound(placed.begin(), placed.end(), index,
                                           [&](int a, int b) { return plan.offsets[a] < plan.offsets[b]; });
    placed.insert(position, index);
  }
  return plan;
}

}  // namespace facet::program
