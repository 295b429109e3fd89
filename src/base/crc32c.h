#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace facet::base {

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4) of `bytes`, by the CPU's own instruction where it has one.
/// @param before the CRC of the bytes that come before these; 0 at the beginning.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0);

/// The same without SSE4.2.
std::uint32_t crc32c_portable(std::span<const std::byte> bytes, std::uint32_t before = 0);

}  // namespace facet::base
