#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/parallel.h"

/// Sums and copies of arrays.
namespace facet::comm {

inline constexpr std::int64_t add_grain = 16384;  // elements that are worth a thread

/// Which threads do it. A thread in the background must not use the compute threads.
enum class Threads : std::uint8_t { caller, compute };

/// Calls body(begin, end) on pieces of [0, count), of which a thread takes at least `grain` elements.
void for_pieces(std::int64_t count, std::int64_t grain, Threads threads, const auto& body) {
  if (threads == Threads::caller) {
    body(std::int64_t{0}, count);
  } else {
    base::parallel_for(count, grain, std::ref(body));
  }
}

/// to = terms[0] + terms[1] + ..., added in this order. `to` may be one of the terms.
inline void add_in_order(std::span<const float* const> terms, std::span<float> to, Threads threads = Threads::compute) {
  const auto add = [&](std::int64_t first, std::int64_t last) {
    constexpr std::int64_t block = 1024;  // in the first-level cache
    std::array<float, block> sums;
    for (std::int64_t begin = first; begin < last; begin += block) {
      const auto count = static_cast<std::size_t>(std::min(block, last - begin));
      std::copy_n(terms[0] + begin, count, sums.data());
      for (const float* const term : terms.subspan(1)) {
        for (std::size_t i = 0; i < count; ++i) sums[i] += term[begin + static_cast<std::int64_t>(i)];
      }
      std::copy_n(sums.data(), count, to.data() + begin);
    }
  };
  for_pieces(std::ssize(to), add_grain, threads, add);
}

/// Bytes and where they are copied to, of the same size.
struct Copy {
  std::span<const std::byte> from;
  std::span<std::byte> to;
};

/// Makes all copies, as if they were one.
inline void copy_bytes(std::span<const Copy> copies, Threads threads = Threads::compute) {
  std::int64_t bytes = 0;
  for (const Copy& copy : copies) bytes += std::ssize(copy.from);
  const auto run = [&](std::int64_t first, std::int64_t last) {
    std::int64_t begin = 0;  // of the copy
    for (const Copy& copy : copies) {
      const std::int64_t end = begin + std::ssize(copy.from), from = std::max(first, begin), to = std::min(last, end);
      if (from < to) std::copy_n(copy.from.data() + (from - begin), to - from, copy.to.data() + (from - begin));
      begin = end;
    }
  };
  for_pieces(bytes, add_grain * std::int64_t{sizeof(float)}, threads, run);
}

inline void copy_elements(std::span<const float> from, std::span<float> to, Threads threads = Threads::compute) {
  const Copy copy{std::as_bytes(from), std::as_writable_bytes(to)};
  copy_bytes({&copy, 1}, threads);
}

}  // namespace facet::comm
