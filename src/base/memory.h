#pragma once

#include <cstddef>

namespace facet::base {

/// Zeroed memory from the system, on huge pages where the system has them (madvise), aligned to at least 4096 bytes.
class PageBuffer {
 public:
  PageBuffer() = default;
  /// @throws Error naming the size when the system or the process's limits have no room for it.
  explicit PageBuffer(std::size_t bytes);
  ~PageBuffer();
  PageBuffer(PageBuffer&& other) noexcept;
  PageBuffer& operator=(PageBuffer&& other) noexcept;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// One memory that several programs use in turn, each from its start: an address range that stays, of which only what
/// the largest program needs is ever touched.
class Arena {
 public:
  Arena();
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  std::byte* data() const { return data_; }
  /// Bytes that may be used so far.
  std::size_t size() const { return size_; }
  /// Makes at least `bytes` usable, touched, on huge pages where the system has them. Addresses and contents stay.
  /// @throws Error naming bytes needed and bytes available when the process's memory limit has no room for them.
  void grow(std::size_t bytes);

 private:
  std::byte* data_ = nullptr;
  std::size_t reserved_ = 0;
  std::size_t size_ = 0;
};

}  // namespace facet::base
