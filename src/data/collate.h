#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "data/decode/scratch.h"
#include "data/mix.h"
#include "data/transforms/transforms.h"
#include "facet/dataset.h"
#include "facet/loader.h"

namespace facet::data {

/// Consecutive images of a batch of all processes, which are loaded together and may be mixed with one another.
struct ImageGroup {
  std::span<const std::int64_t> images = {};  ///< indices into the data set
  /// How often each of them has occurred in the epoch before; empty: never.
  std::span<const std::uint32_t> occurrences = {};
  /// The position of the first of them in this process's batch. Images at positions outside of the batch belong to
  /// other processes.
  std::int64_t position = 0;
};

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
  /// Returns the number of images in a group; the last one of a batch may have fewer.
  std::int64_t group_size() const { return mixes_ ? mix_group : 1; }
  /// Loads, transforms and mixes the images of a group that are in the batch, and their labels. Where others are in
  /// another process's batch, they are loaded too.
  /// @throws Error when an image can't be read, or its labels don't fit the heads; and what the data set throws: for
  ///   the first such image.
  void load(Batch& batch, const ImageGroup& group, std::int64_t epoch) const;

 private:
  /// The bytes of the pixels of one image, {height, width, 3}.
  std::size_t pixel_bytes() const;
  /// Whether batches have values as targets of a head.
  bool has_targets(std::size_t head) const { return mixes_ || dataset_.has_targets(head); }
  /// Writes the targets of an image, {outputs}, and NaN where there are none.
  void load_targets(std::int64_t image, std::size_t head, std::span<float> values) const;
  /// Writes labels and targets of an image of a batch.
  /// @param partner the image that it is mixed with.
  void load_labels(Batch& batch, std::size_t position, const Mix& mix, std::int64_t partner) const;

  const Dataset& dataset_;
  const std::vector<Head> heads_;
  const Transforms transforms_;
  const bool mixes_;
  mutable ScratchPool scratches_;
};

/// Returns the memory that a batch takes, in bytes.
std::size_t held_bytes(const Batch& batch);

}  // namespace facet::data
