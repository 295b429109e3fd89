#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "facet/augmentation.h"
#include "facet/dataset.h"
#include "facet/export.h"
#include "facet/sampler.h"

namespace facet {

/// The images and labels of one batch. Buffers are reused from batch to batch.
struct Batch {
  std::int64_t size = 0;                  ///< images
  std::vector<std::uint8_t> pixels = {};  ///< {size, height, width, 3}
  /// {heads, size}: the images' own labels, also where images are mixed; no_label where an image has none. A Loader
  /// always fills them in; in a batch of one's own they may be empty where the targets of all heads are values.
  std::vector<std::int32_t> labels = {};
  /// By head: {size, outputs}, the values that the data set gives as targets, NaN where one is missing; empty for a
  /// head whose targets are class indices, unless images are mixed: then the distributions of their labels.
  std::vector<std::vector<float>> targets = {};
  std::vector<std::int64_t> indices = {};  ///< {size}: indices of the images in the data set
};

struct LoaderOptions {
  std::int64_t batch = 64;  ///< images in a batch of all processes together; at least `world`
  ImageSize size = 224;
  ResizeMode resize = ResizeMode::squash;  ///< how images are resized to that size
  /// Decoding threads, at most 4096. 0: the loader starts with one and adds threads while the caller waits for batches,
  /// up to one for each core that the process may use.
  int threads = 0;
  std::uint64_t seed = 0;
  bool shuffle = true;  ///< the order is a function of (seed, epoch) alone
  bool flip = true;     ///< mirror each image with probability 1/2, a function of (seed, epoch, image)
  Augmentation augmentation = {};
  /// The colour of what lies outside of an image that is moved, and of what is erased: red, green and blue.
  std::array<std::uint8_t, 3> fill = {};
  bool drop_last = false;  ///< leave out the last, smaller batch of an epoch
  int prefetch = 4;        ///< batches decoded ahead
  int rank = 0;            ///< the process that the loader works for: it yields that process's share of each batch
  /// Number of processes, which share each batch as BatchPlan says. With several, next() may return a last batch of
  /// size 0, which TrainingSession::step doesn't take.
  int world = 1;
  std::shared_ptr<const Sampler> sampler = {};  ///< replaces `shuffle`; null: a ShuffledSampler or SequentialSampler
};

/// Decodes batches ahead of the step that uses them, on its own threads in a oneTBB arena, with bounded memory. Not
/// thread-safe. The data set must outlive the loader, and its images and heads must not change.
class FACET_EXPORT Loader {
 public:
  /// @throws Error when an option is out of range (naming the first), when the batches need more memory than is
  ///   available, or when a thread can't be started (not for threads that are added later, which are optional).
  Loader(const Dataset& dataset, const LoaderOptions& options);
  Loader(const Dataset&& dataset, const LoaderOptions& options) = delete;  ///< a temporary would be gone too soon
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Returns the number of batches in an epoch, which is the same for all processes.
  std::int64_t batches_per_epoch() const;
  /// Returns the current number of decoding threads.
  int threads() const;
  /// Returns the memory that the loader's batches take, in bytes.
  std::int64_t held_bytes() const;
  /// Starts an epoch at batch `first` and discards batches that were decoded ahead. If `first` is the number of
  /// batches, the epoch is over at once.
  /// @throws Error when the epoch has no such batch, the data set's size or heads have changed since the loader was
  ///   constructed, or the sampler's order doesn't fit the data set.
  void start_epoch(std::int64_t epoch, std::int64_t first = 0);
  /// Returns the next batch of the epoch, valid until the next call; null at the end of the epoch. With several
  /// processes the last batch may be empty (see BatchPlan::share).
  /// @throws Error when an image of the batch, or one that an image of it is mixed with, can't be read, or its labels
  ///   don't fit the heads (for the first such image in the order of the epoch); further calls throw it again until an
  ///   epoch is started. Also when no epoch was started, or when the data set's size or heads have changed.
  const Batch* next();

 private:
  struct FACET_NO_EXPORT State;
  std::unique_ptr<State> state_;
};

}  // namespace facet
