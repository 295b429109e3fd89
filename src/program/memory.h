#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/memory.h"
#include "onednn/onednn.h"

namespace facet::program {

/// The size of a buffer, and the first and last instruction that use it.
struct Lifetime {
  std::size_t bytes = 0;
  int first = -1;
  int last = -1;

  /// Extends the lifetime to this instruction, which must not precede those already included.
  void include(int instruction) {
    if (first < 0) first = instruction;
    last = instruction;
  }
};

struct MemoryPlan {
  std::vector<std::size_t> offsets;  ///< by lifetime
  std::size_t bytes = 0;             ///< size of the planned memory
};

/// Places the buffers so that no two with overlapping lifetimes overlap in memory: the largest first, each in the
/// lowest gap that is large enough. Offsets are multiples of 128 bytes.
MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes);

/// The largest number of bytes that are live at one instruction. No plan takes less.
std::size_t peak_bytes(const std::vector<Lifetime>& lifetimes);

/// The memory in which the programs of one graph hold what they prepare from its parameters (folded, transformed,
/// reordered weights). Programs that prepare the same content in the same layout, as those for several batch sizes do,
/// share it: each writes the same values there. Not thread-safe.
class PreparedMemory {
 public:
  /// @param made_of identifies the content: from which parameters it is computed, and how. Empty: it is not shared.
  /// @return the memory that is already in use for this content and layout; else new memory.
  std::shared_ptr<base::PageBuffer> get(const std::string& made_of, const onednn::Layout& layout);

  /// Bytes in use; shared memory counts once.
  std::size_t bytes() const;

 private:
  struct Entry {
    std::string made_of;
    onednn::Layout layout;
    std::weak_ptr<base::PageBuffer> memory;
  };
  std::vector<Entry> entries_;
};

}  // namespace facet::program
