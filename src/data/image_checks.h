#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace facet::data {

struct CheckedImage {
  std::string error = {};    ///< why the image can't be read; empty if it can
  std::string warning = {};  ///< a defect of the file that affects no pixel; empty: none
};

/// Decodes `count` image files in parallel to find those that can't be read.
/// @param threads 0: one for each core that the process may use.
/// @param progress called from time to time with the number of files done, by one thread at a time; may be empty.
/// @throws std::bad_alloc when memory runs out, which says nothing about an image.
std::vector<CheckedImage> check_images(std::int64_t count,
                                       const std::function<std::filesystem::path(std::int64_t)>& path, int threads,
                                       const std::function<void(std::int64_t)>& progress);

/// Returns the indices of missing files, ascending. Each of their folders is listed once. For one of the files that a
/// listing doesn't name, stat() decides whether the listing is reliable: it isn't where names are not case-sensitive or
/// files are created on demand, and no file of such a folder is reported.
/// @param files paths relative to `root`, or absolute ones.
/// @param limit time limit; no file is reported when the listings take longer.
std::vector<std::size_t> missing_files(const std::filesystem::path& root, const std::vector<std::string>& files,
                                       std::chrono::milliseconds limit);

}  // namespace facet::data
