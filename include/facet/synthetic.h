#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "facet/export.h"
#include "facet/image.h"

namespace facet {

struct SyntheticOptions {
  std::int64_t train = 2000;      ///< images, at least 0
  std::int64_t validation = 500;  ///< images, at least 0
  ImageSize size = 64;            ///< of each image, 32 to 2048 pixels high and wide
  std::uint64_t seed = 0;
};

/// Writes a labelled synthetic data set: folder/train.csv, folder/validation.csv and their JPEGs
/// (train/figure-000001.jpg, ...), with FairFace's columns and classes (9, 2 and 7), each equally often. The images
/// show abstract figures: race is the shape of a figure, gender the direction of its stripes, age their hue and the
/// number of discs around it. An image that isn't square is drawn as a square and squashed. The same options give the
/// same files; an image depends only on the size, the seed, its set and its number.
///
/// The folder is created if it is missing. A synthetic data set that it already holds, complete or not, is replaced; a
/// folder that holds anything else is refused and left unchanged. The CSVs are written last: once both exist, the data
/// set is complete.
/// @param progress called repeatedly with the number of images written, from one thread at a time.
/// @throws Error when an option is out of range, the folder holds anything else, or a file can't be written.
FACET_EXPORT void write_synthetic_sample(const std::filesystem::path& folder, const SyntheticOptions& options,
                                         const std::function<void(std::int64_t)>& progress = {});

}  // namespace facet
