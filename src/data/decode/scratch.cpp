#include "data/decode/scratch.h"

#include <algorithm>
#include <new>
#include <utility>

namespace facet::data {

namespace {

constexpr std::size_t max_buffers = 4;

/// Whether `bytes` more may be kept beside `buffers` buffers of `held` bytes.
bool has_room(std::size_t buffers, std::size_t held, std::size_t bytes) {
  return buffers < max_buffers && held + bytes <= Scratch::max_bytes;
}

}  // namespace

std::vector<std::uint8_t> Scratch::take(std::size_t size) {
  // The smallest buffer that suffices, or otherwise the largest.
  const auto better = [size](const auto& a, const auto& b) {
    const bool a_fits = a.capacity() >= size, b_fits = b.capacity() >= size;
    return a_fits != b_fits ? a_fits : a_fits ? a.capacity() < b.capacity() : a.capacity() > b.capacity();
  };
  const auto best = std::min_element(buffers_.begin(), buffers_.end(), better);
  if (best != buffers_.end() && best->capacity() >= size) {
    std::vector<std::uint8_t> buffer = std::move(*best);
    buffers_.erase(best);
    buffer.resize(size);
    return buffer;
  }
  // A larger buffer will serve in the place of the largest ones, where there isn't room for both. One that can't be
  // kept displaces none.
  while (size <= max_bytes && !has_room(buffers_.size(), held_bytes(), size)) {
    buffers_.erase(std::min_element(buffers_.begin(), buffers_.end(), better));
  }
  return std::vector<std::uint8_t>(size);
}

void Scratch::give(std::vector<std::uint8_t> buffer) {
  if (buffer.capacity() == 0) return;
  if (buffers_.size() == max_buffers) {
    // A large buffer takes the place of the smallest one, which is less work to provide again.
    const auto smallest = std::ranges::min_element(buffers_, {}, [](const auto& kept) { return kept.capacity(); });
    if (smallest->capacity() >= buffer.capacity() ||
        !has_room(max_buffers - 1, held_bytes() - smallest->capacity(), buffer.capacity())) {
      return;
    }
    buffers_.erase(smallest);
  }
  if (!has_room(buffers_.size(), held_bytes(), buffer.capacity())) return;
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
