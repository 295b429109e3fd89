#pragma once

#include <cstddef>
#include <cstdint>

namespace facet::base {

/// Zeroed memory from the system, on huge pages where the system provides them (madvise), aligned to at least 4096
/// bytes.
class PageBuffer {
 public:
  PageBuffer() = default;
  /// @throws Error naming the size if the system or the process's limits don't allow it.
  explicit PageBuffer(std::size_t bytes);
  /// The same in memory that other processes of this host can map, on pages of the usual size. Where the system
  /// provides no such memory, it is a buffer of this process alone.
  static PageBuffer shareable(std::size_t bytes);
  /// The same on pages of the usual size, of which this process will touch only some, whether or not there is memory
  /// for all of them.
  static PageBuffer sparse(std::size_t bytes);
  ~PageBuffer();
  PageBuffer(PageBuffer&& other) noexcept;
  PageBuffer& operator=(PageBuffer&& other) noexcept;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

  /// Where another process of the same user and host finds a shareable buffer.
  struct Place {
    std::int64_t process = 0;
    std::int64_t descriptor = -1;         ///< -1: the buffer can't be shared
    std::uint64_t device = 0, inode = 0;  ///< of the file behind it
    std::uint64_t bytes = 0;
  };
  Place place() const;
  /// Maps the buffer at `place` to be read. Its memory stays as long as one of the two buffers. Returns an empty buffer
  /// where it isn't found: in a container of its own, another process may have that number.
  static PageBuffer open(const Place& place);

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  int descriptor_ = -1;  ///< of a shareable buffer
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
