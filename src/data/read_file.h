#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace facet::data {

/// A whole regular file. Where the system reports EIO or ESTALE, as networks' file systems do for a while, it is tried
/// again three times, within about a second.
/// @throws Error that says why it can't be read ("no such file", "is not a regular file", more bytes than
/// `most_bytes`),
///   without the file's name.
std::vector<std::uint8_t> read_file(const std::filesystem::path& file, std::uint64_t most_bytes);

/// Likewise; of a file whose first `start_bytes` are not `wanted`, those alone.
std::vector<std::uint8_t> read_file(const std::filesystem::path& file, std::uint64_t most_bytes,
                                    std::size_t start_bytes,
                                    const std::function<bool(std::span<const std::uint8_t> start)>& wanted);

/// A regular file of text. @throws Error naming the file when it can't be read, is no regular file or is over 1 GiB
/// long.
std::string read_text(const std::filesystem::path& file);

}  // namespace facet::data
