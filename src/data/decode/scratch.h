#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace facet::data {

/// Buffers that are reused from image to image, so that the system doesn't have to provide and clear pages for each.
/// Not thread-safe.
class Scratch {
 public:
  /// The maximum number of bytes that are kept. Larger buffers are released, so that one huge image doesn't keep its
  /// memory.
  static constexpr std::size_t max_bytes = std::size_t{1} << 24;

  /// Returns a buffer of `size` bytes with arbitrary contents.
  std::vector<std::uint8_t> take(std::size_t size);
  /// Keeps a buffer for later calls of take().
  void give(std::vector<std::uint8_t> buffer);
  /// Returns the number of bytes that are kept.
  std::size_t held_bytes() const;

 private:
  std::vector<std::vector<std::uint8_t>> buffers_;
};

/// Scratch memory for as many threads as use it at the same time. Thread-safe.
class ScratchPool {
 public:
  /// Lends scratch memory to one thread; returns it to the pool at the end.
  class Lease {
   public:
    Lease(ScratchPool& pool, std::unique_ptr<Scratch> scratch) : pool_(pool), scratch_(std::move(scratch)) {}
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    Scratch& operator*() const { return *scratch_; }
    Scratch* operator->() const { return scratch_.get(); }

   private:
    ScratchPool& pool_;
    std::unique_ptr<Scratch> scratch_;
  };

  /// The pool must outlive the lease.
  Lease borrow();

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
};

}  // namespace facet::data
