#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace facet::data {

struct CheckedImage {
  std::string error = {};    ///< why it can't be read; empty where it can
  std::string warning = {};  ///< what is wrong with its file but harms no pixel; empty: nothing
};

/// Decodes `count` image files in parallel.
/// @param threads 0: all that the process may use.
/// @param progress may be empty; called now and then with the number of files done, by one thread at a time.
/// @throws std::bad_alloc when memory runs out: that tells nothing of an image.
std::vector<CheckedImage> check_images(std::int64_t count,
                                       const std::function<std::filesystem::path(std::int64_t)>& path, int threads,
                                       const std::function<void(std::int64_t)>& progress);

}  // namespace facet::data
