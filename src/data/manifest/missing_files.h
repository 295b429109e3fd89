#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace facet::data {

/// Returns the indices of missing files, ascending. Each of their folders is listed once. For one of the files that a
/// listing doesn't name, stat() decides whether the listing is reliable: it isn't where names are not case-sensitive or
/// files are created on demand, and no file of such a folder is reported.
/// @param files paths relative to `root`, or absolute ones.
/// @param limit time limit; no file is reported when the listings take longer.
std::vector<std::size_t> missing_files(const std::filesystem::path& root, const std::vector<std::string>& files,
                                       std::chrono::milliseconds limit);

}  // namespace facet::data
