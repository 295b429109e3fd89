#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "base/memory.h"

namespace facet::bench {

/// Evicts memory from all caches, so that the next timed instruction finds it in main memory, where a step's operands
/// mostly are. It uses clflushopt on each cache line if the CPU has it; otherwise it reads a buffer as large as the
/// last-level caches.
class Eviction {
 public:
  Eviction();
  void evict(std::span<const std::span<const std::byte>> memory);
  /// Returns "clflushopt" or "walk".
  static std::string_view method();

 private:
  base::PageBuffer walked_;
};

}  // namespace facet::bench
