#pragma once

#include <cstddef>
#include <vector>

namespace facet::program {

/// A piece of memory and the steps, first and last, between which it holds something.
struct Lifetime {
  std::size_t bytes = 0;
  int first = -1;
  int last = -1;

  /// It holds something at this step too, which comes after those already included.
  void include(int step) {
    if (first < 0) first = step;
    last = step;
  }
};

struct MemoryPlan {
  std::vector<std::size_t> offsets;  ///< by lifetime
  std::size_t bytes = 0;             ///< of the whole
};

/// Places every piece so that no two that live at one time overlap: largest first, each in the lowest gap that holds it.
/// Offsets are multiples of 128 bytes.
MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes);

/// The most that lives at one time: no plan takes less.
std::size_t peak_bytes(const std::vector<Lifetime>& lifetimes);

}  // namespace facet::program
