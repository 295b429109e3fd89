#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "facet/export.h"

namespace facet {

class Dataset;

/// Decides which images of a data set an epoch has, and in which order: for a Trainer (TrainOptions::sampler) or for a
/// Loader of one's own (LoaderOptions::sampler).
///
/// The order is a function of (count, seed, epoch) alone, so a run that is resumed needs no state of its sampler: the
/// numbers of the epoch and of the batches that are done suffice (see Loader::start_epoch), for any number of
/// processes. Const members are thread-safe.
class FACET_EXPORT Sampler {
 public:
  virtual ~Sampler() = default;
  /// Returns the number of images in an epoch over a data set of `count` images; by default `count`.
  virtual std::int64_t epoch_size(std::int64_t count) const;
  /// Returns the images of an epoch: epoch_size(count) indices in [0, count), which may occur more than once. An image
  /// that does gets other random transforms each time (see LoadRequest::seed).
  /// @throws Error when count is negative or above 2^32 - 1.
  virtual std::vector<std::int64_t> order(std::int64_t count, std::uint64_t seed, std::int64_t epoch) const = 0;
};

/// Every image once, in the order of the data set.
class FACET_EXPORT SequentialSampler final : public Sampler {
 public:
  std::vector<std::int64_t> order(std::int64_t count, std::uint64_t seed, std::int64_t epoch) const override;
};

/// Every image once, in the order of epoch_order().
class FACET_EXPORT ShuffledSampler final : public Sampler {
 public:
  std::vector<std::int64_t> order(std::int64_t count, std::uint64_t seed, std::int64_t epoch) const override;
};

/// Images at random, each time with a probability in proportion to its weight, so that an image may occur more than
/// once in an epoch or not at all (PyTorch: WeightedRandomSampler with replacement).
class FACET_EXPORT WeightedRandomSampler final : public Sampler {
 public:
  /// @param weights one for each image of the data set, in its order: finite, at least 0, and not all of them 0.
  /// @throws Error naming the first weight that isn't allowed.
  explicit WeightedRandomSampler(const std::vector<double>& weights);
  /// @throws Error also when the data set doesn't hold an image for each weight.
  std::vector<std::int64_t> order(std::int64_t count, std::uint64_t seed, std::int64_t epoch) const override;

 private:
  std::vector<double> sums_;  ///< of the weights up to each image
};

/// Returns weights for a WeightedRandomSampler by which each class of a head that has an image is equally likely: 1 /
/// images of the class. An image without a label of the head has the mean weight of those with one.
/// @throws Error when the data set doesn't have the head, or no image has a label of it.
FACET_EXPORT std::vector<double> class_balanced_weights(const Dataset& data, std::string_view head);

/// Returns the shuffled order of the images in an epoch: a permutation of [0, count) that depends only on count, seed
/// and epoch.
/// @throws Error when count is negative or above 2^32 - 1.
FACET_EXPORT std::vector<std::int64_t> epoch_order(std::int64_t count, std::uint64_t seed, std::int64_t epoch);

/// Consecutive positions in the order of an epoch.
struct PositionRange {
  std::int64_t first = 0;
  std::int64_t size = 0;
  bool operator==(const PositionRange&) const = default;
};

/// Returns the share of process `rank`, one of `world`, of `count` consecutive items. The shares follow one another in
/// the order of the ranks, and their sizes differ by at most one: the first count % world processes have one item more.
/// 64 images are shared by 3 processes as 22, 21 and 21.
/// @throws Error unless count >= 0, world >= 1 and 0 <= rank < world.
FACET_EXPORT PositionRange share_of(std::int64_t count, std::int64_t rank, std::int64_t world);

/// How an epoch is divided into batches, and each batch between processes. A batch is that of all processes together;
/// its shares, in the order of the ranks, make up the batch that a single process has. Its functions throw Error when
/// `batch` is below 1 or `images` is below 0.
struct FACET_EXPORT BatchPlan {
  std::int64_t images = 0;  ///< of the epoch
  std::int64_t batch = 1;   ///< images in a batch of all processes together
  bool drop_last = false;   ///< leave out the last, smaller batch
  std::int64_t rank = 0;    ///< number of this process, counted from 0
  std::int64_t world = 1;   ///< number of processes

  /// Returns the number of batches, which is the same for all processes.
  std::int64_t batches() const;
  /// Returns the positions of batch `index`. @throws Error unless it is in [0, batches()).
  PositionRange whole(std::int64_t index) const;
  /// Returns this process's share of whole(index). It is empty if the last batch has at most `rank` images.
  /// @throws Error as whole() and share_of() do.
  PositionRange share(std::int64_t index) const;
};

}  // namespace facet
