#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace facet::data {

/// Reads a whole file into `bytes`, whose capacity is used again.
/// @return why it can't be read ("no such file"); empty on success.
std::string read_file(const std::filesystem::path& file, std::vector<std::uint8_t>& bytes);

}  // namespace facet::data
