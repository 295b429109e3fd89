#include "program/prepared_memory.h"

#include <algorithm>

namespace facet::program {

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
