#include "data/decode/scratch.h"

#include <algorithm>
#include <new>
#include <utility>

namespace facet::data {

std::vector<std::uint8_t> Scratch::take(std::size_t size) {
  // The smallest buffer that suffices, or otherwise the largest.
  const auto better = [size](const auto& a, const auto& b) {
    const bool a_fits = a.capacity() >= size, b_fits = b.capacity() >= size;
    return a_fits != b_fits ? a_fits : a_fits ? a.capacity() < b.capacity() : a.capacity() > b.capacity();
  };
  const auto best = std::min_element(buffers_.begin(), buffers_.end(), better);
  std::vector<std::uint8_t> buffer;
  if (best != buffers_.end()) {
    buffer = std::move(*best);
    buffers_.erase(best);
  }
  if (buffer.capacity() < size) buffer = {};  // its contents aren't worth a copy
  buffer.resize(size);
  return buffer;
}

void Scratch::give(std::vector<std::uint8_t> buffer) {
  constexpr std::size_t max_buffers = 4;
  if (buffers_.size() >= max_buffers || held_bytes() + buffer.capacity() > max_bytes) return;
  buffers_.push_back(std::move(buffer));
}

std::size_t Scratch::held_bytes() const {
  std::size_t bytes = 0;
  for (const auto& buffer : buffers_) bytes += buffer.capacity();
  return bytes;
}

ScratchPool::Lease ScratchPool::borrow() {
  std::unique_ptr<Scratch> scratch;
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      scratch = std::move(free_.back());
      free_.pop_back();
    }
  }
  return {*this, scratch ? std::move(scratch) : std::make_unique<Scratch>()};
}

ScratchPool::Lease::~Lease() {
  const std::lock_guard lock(pool_.mutex_);
  try {
    pool_.free_.push_back(std::move(scratch_));
  } catch (const std::bad_alloc&) {  // the scratch memory is released
  }
}

}  // namespace facet::data
