#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "base/memory.h"

namespace facet::bench {

/// Takes memory out of all caches, so that what is timed next finds it where a step's operands mostly are. By
/// clflushopt, line by line, where the CPU has it; else by reading a buffer as large as the last-level caches.
class Eviction {
 public:
  Eviction();
  void evict(std::span<const std::span<const std::byte>> memory);
  /// "clflushopt" or "walk".
  static std::string_view method();

 private:
  base::PageBuffer walked_;
};

}  // namespace facet::bench
