#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace facet::data {

/// Which files are missing, ascending, by listing each of their folders once. Where a listing doesn't name a file, one
/// look at the file itself decides whether the listing can be believed: it can't be where names differ by case alone,
/// or are made up on demand.
/// @param files relative to `root`, or absolute.
/// @param limit of time; none is missing when the listings take longer.
std::vector<std::size_t> missing_files(const std::filesystem::path& root, const std::vector<std::string>& files,
                                       std::chrono::milliseconds limit);

}  // namespace facet::data
