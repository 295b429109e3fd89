#include "eviction.h"

#include <cstdint>

#include "base/parallel.h"
#include "base/topology.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace facet::bench {

namespace {

constexpr std::int64_t line = 64, page = 4096;

#if defined(__x86_64__)

bool can_flush() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_CLFLUSHOPT) != 0;
}

__attribute__((target("clflushopt"))) void flush(const std::byte* begin, const std::byte* end) {
  for (const std::byte* at = begin; at < end; at += line) _mm_clflushopt(const_cast<std::byte*>(at));
  _mm_mfence();
}

#else

bool can_flush() { return false; }
void flush(const std::byte*, const std::byte*) {}

#endif

void walk(const base::PageBuffer& buffer) {
  base::parallel_for(static_cast<std::int64_t>(buffer.size()), page, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i += line)
      static_cast<void>(*static_cast<volatile std::byte*>(buffer.data() + i));
  });
}

}  // namespace

Eviction::Eviction() {
  if (can_flush()) return;
  const std::int64_t detected = base::Topology::machine().last_level_cache_bytes();
  walked_ = base::PageBuffer(detected > 0 ? detected : std::int64_t{64} << 20);
  base::parallel_for(static_cast<std::int64_t>(walked_.size()), page, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i += page)
      walked_.data()[i] = std::byte{1};  // untouched pages would all map to the zero page
  });
}

std::string_view Eviction::method() { return can_flush() ? "clflushopt" : "walk"; }

void Eviction::evict(std::span<const std::span<const std::byte>> memory) {
  if (walked_.size() > 0) return walk(walked_);
  for (const std::span<const std::byte> piece : memory) {
    base::parallel_for(static_cast<std::int64_t>(piece.size()), page,
                       [&](std::int64_t begin, std::int64_t end) { flush(piece.data() + begin, piece.data() + end); });
  }
}

}  // namespace facet::bench
