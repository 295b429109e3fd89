#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "facet/files.h"

namespace facet::base {

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4) of `bytes`, computed by the CPU's CRC instruction where it has one.
/// @param before the CRC of the preceding bytes; 0 at the beginning.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0);

/// CRC-32C as crc32c() computes it, without SSE4.2.
std::uint32_t crc32c_portable(std::span<const std::byte> bytes, std::uint32_t before = 0);

// Queries of std::filesystem that throw the error of status_of().

/// Whether the path exists; links are followed.
inline bool exists(const std::filesystem::path& path) { return std::filesystem::exists(status_of(path)); }

/// Whether the path is a regular file; links are followed.
inline bool is_file(const std::filesystem::path& path) { return std::filesystem::is_regular_file(status_of(path)); }

/// The entries of a folder, in no particular order; empty if the folder doesn't exist.
/// @throws Error naming the folder if it can't be read.
std::vector<std::filesystem::path> entries_of(const std::filesystem::path& folder);

}  // namespace facet::base
