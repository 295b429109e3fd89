#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

namespace facet::base {

/// Reads a whole regular file. When the system reports EIO or ESTALE, which network file systems do temporarily, it is
/// tried again up to three times within about a second.
/// @throws Error that says why the file can't be read ("no such file", "is not a regular file", more bytes than
///   `max_bytes`), without the file's name.
std::vector<std::uint8_t> read_file(const std::filesystem::path& file, std::uint64_t max_bytes);

/// Reads a file as above, but only its first `start_bytes` bytes if `wanted` returns false for them.
std::vector<std::uint8_t> read_file(const std::filesystem::path& file, std::uint64_t max_bytes, std::size_t start_bytes,
                                    const std::function<bool(std::span<const std::uint8_t> start)>& wanted);

}  // namespace facet::base
