#include "program/memory.h"

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
  std::vector<int> placed;  // sorted by offset
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

std::size_t peak_bytes(const std::vector<Lifetime>& lifetimes) {
  int end = 0;
  for (const Lifetime& piece : lifetimes) end = std::max(end, piece.last + 1);
  std::vector<std::ptrdiff_t> changes(end + 1, 0);
  for (const Lifetime& piece : lifetimes) {
    if (piece.first < 0) continue;
    changes[piece.first] += static_cast<std::ptrdiff_t>(piece.bytes);
    changes[piece.last + 1] -= static_cast<std::ptrdiff_t>(piece.bytes);
  }
  std::ptrdiff_t live = 0;
  std::ptrdiff_t peak = 0;
  for (const std::ptrdiff_t change : changes) peak = std::max(peak, live += change);
  return static_cast<std::size_t>(peak);
}

std::shared_ptr<base::PageBuffer> PreparedMemory::get(const std::string& made_of, const onednn::Layout& layout) {
  std::erase_if(entries_, [](const Entry& entry) { return entry.memory.expired(); });
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return !made_of.empty() && entry.made_of == made_of && entry.layout == layout;
  });
  if (found != entries_.end()) return found->memory.lock();
  auto memory = std::make_shared<base::PageBuffer>(layout.get_size());
  entries_.push_back({made_of, layout, memory});
  return memory;
}

std::size_t PreparedMemory::bytes() const {
  std::size_t bytes = 0;
  for (const Entry& entry : entries_) {
    if (const auto memory = entry.memory.lock()) bytes += memory->size();
  }
  return bytes;
}

}  // namespace facet::program
