#pragma once

#include <cstdint>

namespace facet::kernels {

/// Rounds `count` floats up to whole cache lines, so that each thread's sums are on cache lines of their own.
constexpr std::int64_t whole_cache_lines(std::int64_t count) { return (count + 15) / 16 * 16; }

}  // namespace facet::kernels
