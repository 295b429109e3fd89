#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "facet/export.h"
#include "facet/image.h"

namespace facet {

/// A head: its name (such as "age") and its classes, in the order of the logits. For a head whose outputs aren't
/// classes (see binary_cross_entropy and mean_squared_error), they are the outputs' names.
struct Head {
  std::string name = {};
  std::vector<std::string> classes = {};
  /// Whether a model takes the classes as ordered, as those of ages are: build_model then gives the head coral() and
  /// coral_loss(). A data set's labels are the same either way.
  bool ordinal = false;
  bool operator==(const Head&) const = default;
};

/// Returns the names of the heads, in order.
FACET_EXPORT std::vector<std::string> names_of(const std::vector<Head>& heads);

/// Checks heads as every data set and model file needs them.
/// @param where what messages begin with.
/// @throws Error unless the heads, and the classes of each head, have distinct names in UTF-8, and each head has at
///   least one class.
FACET_EXPORT void require_named_heads(const std::string& where, const std::vector<Head>& heads);

/// The label of an image that has no label for a head.
inline constexpr std::int32_t no_label = -1;

/// What a data set is asked to load: an image, and how it is resized.
struct LoadRequest {
  std::int64_t index = 0;
  ImageSize size = 224;  ///< of the pixels that are written
  ResizeMode resize = ResizeMode::squash;
  /// If above 0, a random part of the image takes the image's place (see Augmentation::random_resized_crop), and
  /// `resize` doesn't apply. facet's data sets do this. A data set of one's own that doesn't, by resize() for example,
  /// has no crops.
  double random_resized_crop = 0;
  // A data set may change an image at random, as long as (seed, epoch, index) determine how.
  std::uint64_t seed = 0;  ///< the loader's; another one for each time that an image occurs again in the epoch
  std::int64_t epoch = 0;  ///< the epoch in progress, counted as Loader::start_epoch does
};

/// Crops and resizes an image as a request asks.
/// @throws Error as facet::resize of an image does.
FACET_EXPORT void resize(const Image& image, const LoadRequest& request, std::span<std::uint8_t> pixels);

/// A data set of labelled images. Const members are thread-safe. A data set must not be changed or destroyed while a
/// Loader, a Trainer or evaluate() uses it.
class FACET_EXPORT Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::int64_t size() const = 0;
  virtual const std::vector<Head>& heads() const = 0;
  /// Returns the labels of image `index`, one for each head: an index into its classes, or no_label.
  virtual std::span<const std::int32_t> labels(std::int64_t index) const = 0;
  /// Whether the targets of a head are values, which targets() gives, instead of class indices. `head` is an index into
  /// heads(). The answer must not change while the data set is used.
  virtual bool has_targets(std::size_t /*head*/) const { return false; }
  /// Writes the values that are the target of image `index` for a head with has_targets(), as the head's loss takes
  /// them (facet/ops.h): a distribution over the classes, several labels from 0 to 1, or numbers. Such a head's labels
  /// are read by custom_loss only.
  /// @param values one for each class of the head. They are NaN at first, which means that the image has none.
  virtual void targets(std::int64_t /*index*/, std::size_t /*head*/, std::span<float> /*values*/) const {}
  /// Writes an image as 8-bit RGB, {height, width, 3}, cropped and resized as facet::resize does.
  /// @throws Error naming the image (and its line in the manifest) when it can't be read.
  virtual void load(const LoadRequest& request, std::span<std::uint8_t> pixels) const = 0;
  /// Returns the name of image `index` for messages and predictions: for a manifest, the file as written in the CSV.
  virtual std::string name(std::int64_t index) const = 0;
};

/// A data set that is held in memory.
class FACET_EXPORT MemoryDataset final : public Dataset {
 public:
  /// @throws Error unless the heads, and the classes of each head, have distinct names in UTF-8, and each head has at
  ///   least one class.
  explicit MemoryDataset(std::vector<Head> heads);
  /// Adds an image with one label for each head.
  /// @param targets the values that are the image's target for each head, one for each class of the head; empty for a
  ///   head of which the image has none (see has_targets). No vectors at all: the image has none for any head.
  /// @throws Error when the image's pixel count, a label, or a number of targets is out of range.
  void add(Image image, std::vector<std::int32_t> labels, const std::vector<std::vector<float>>& targets = {});

  std::int64_t size() const override;
  const std::vector<Head>& heads() const override;
  /// labels(), targets(), load() and name() throw Error when there is no image `index`.
  std::span<const std::int32_t> labels(std::int64_t index) const override;
  /// Whether any image has values for the head.
  bool has_targets(std::size_t head) const override;
  void targets(std::int64_t index, std::size_t head, std::span<float> values) const override;
  void load(const LoadRequest& request, std::span<std::uint8_t> pixels) const override;
  std::string name(std::int64_t index) const override;

 private:
  std::vector<Head> heads_;
  std::vector<Image> images_;
  std::vector<std::int32_t> labels_;
  std::vector<std::vector<float>> targets_;  ///< by head: {images, classes}, or empty where no image has any
};

}  // namespace facet
