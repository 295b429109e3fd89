#pragma once

#include <cstddef>

namespace facet::base {

/// Zeroed memory from the system, on huge pages where the system provides them (madvise), aligned to at least 4096
/// bytes.
class PageBuffer {
 public:
  PageBuffer() = default;
  /// @throws Error naming the size if the system or the process's limits don't allow it.
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

/// A memory region that several programs use in turn, each from its start. Its address range stays the same; only as
/// much of it is touched as the largest program needs.
class Arena {
 public:
  Arena();
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  std::byte* data() const { return data_; }
  /// Bytes that may be used so far.
  std::size_t size() const { return size_; }
  /// Makes at least `bytes` usable: they are touched, and on huge pages where the system provides them. Addresses and
  /// contents stay the same.
  /// @throws Error naming the bytes needed and the bytes available if the process's memory limit doesn't allow them.
  void grow(std::size_t bytes);

 private:
  std::byte* data_ = nullptr;
  std::size_t reserved_ = 0;
  std::size_t size_ = 0;
};

}  // namespace facet::base
