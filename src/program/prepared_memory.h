#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/memory.h"
#include "onednn/onednn.h"

namespace facet::program {

/// The memory in which programs of one graph and its parameters hold what they make of the parameters (folded,
/// transformed, reordered weights). Programs that make the same in the same layout, as those for several batch sizes do,
/// share it: each writes the same values there. One thread at a time.
class PreparedMemory {
 public:
  /// @param made_of says from which parameters the content is made, and how; empty: no other program makes the same.
  /// @return memory that a program uses already for the same content in the same layout; else new memory.
  std::shared_ptr<base::PageBuffer> get(const std::string& made_of, const onednn::Layout& layout);

  /// Bytes that are in use, each counted once.
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
