#pragma once

#include <cstdint>

namespace facet::kernels {

/// At least `count` floats that end where a cache line does: threads' sums stand on lines of their own.
constexpr std::int64_t whole_cache_lines(std::int64_t count) { return (count + 15) / 16 * 16; }

}  // namespace facet::kernels
