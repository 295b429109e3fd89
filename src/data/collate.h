#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "data/transforms.h"
#include "facet/dataset.h"
#include "facet/loader.h"

namespace facet::data {

/// Makes batches of a data set's images and labels. Const members are thread-safe: the images of one batch may be
/// loaded by several threads.
class Collator {
 public:
  /// Keeps a copy of the data set's heads.
  Collator(const Dataset& dataset, const Transforms& transforms);

  const std::vector<Head>& heads() const { return heads_; }
  /// Returns the bytes that one image takes in a batch: its pixels, index, labels and targets.
  std::size_t image_bytes() const;
  /// Allocates memory for a batch of up to `images` images. @throws std::bad_alloc
  void reserve(Batch& batch, std::int64_t images) const;
  /// Sets the images of a batch, whose pixels and labels are to be loaded.
  void begin(Batch& batch, std::span<const std::int64_t> indices) const;
  /// Loads and transforms one image of a batch, and its labels.
  /// @param position the image's position in the batch.
  /// @throws Error when the image can't be read, or its labels don't fit the heads; and what the data set throws.
  void load(Batch& batch, std::int64_t position, std::int64_t epoch) const;

 private:
  /// The bytes of the pixels of one image, {height, width, 3}.
  std::size_t pixel_bytes() const;

  const Dataset& dataset_;
  const std::vector<Head> heads_;
  const Transforms transforms_;
};

/// Returns the memory that a batch takes, in bytes.
std::size_t held_bytes(const Batch& batch);

}  // namespace facet::data
