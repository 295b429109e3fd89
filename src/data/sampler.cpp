#include "facet/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "base/random.h"
#include "data/labels.h"
#include "facet/dataset.h"
#include "facet/error.h"

namespace facet {

std::int64_t Sampler::epoch_size(std::int64_t count) const { return count; }

std::vector<std::int64_t> SequentialSampler::order(std::int64_t count, std::uint64_t, std::int64_t) const {
  if (count < 0 || count > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(fmt::format("an epoch has {} images; 0 to 2^32 - 1 are allowed", count));
  }
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  return order;
}

std::vector<std::int64_t> ShuffledSampler::order(std::int64_t count, std::uint64_t seed, std::int64_t epoch) const {
  return epoch_order(count, seed, epoch);
}

WeightedRandomSampler::WeightedRandomSampler(const std::vector<double>& weights) {
  double sum = 0;
  for (std::size_t image = 0; image < weights.size(); ++image) {
    if (!(weights[image] >= 0) || !std::isfinite(weights[image])) {
      throw Error(fmt::format("the sampler's weight of image {} is {}; finite numbers of at least 0 are allowed", image,
                              weights[image]));
    }
    sums_.push_back(sum += weights[image]);
  }
  if (!std::isfinite(sum)) throw Error("the sum of the sampler's weights isn't finite; smaller weights are needed");
  if (sum == 0) throw Error("the sampler has no weight above 0; at least one is needed");
}

std::vector<std::int64_t> WeightedRandomSampler::order(std::int64_t count, std::uint64_t seed,
                                                       std::int64_t epoch) const {
  if (count != std::ssize(sums_)) {
    throw Error(fmt::format("the sampler has {} weights; the data set holds {} images", sums_.size(), count));
  }
  base::RandomStream random(seed, base::Purpose::order, static_cast<std::uint64_t>(epoch));
  std::vector<std::int64_t> order(sums_.size());
  for (std::int64_t& image : order) {
    const std::uint64_t high = random.bits(), low = random.bits();
    const double uniform = static_cast<double>((high << 32 | low) >> 11) * 0x1p-53;
    // The product may round up to the sum of all weights; an image of weight 0 is never the first above it.
    const double drawn = std::min(uniform * sums_.back(), std::nextafter(sums_.back(), 0.0));
    image = std::ranges::upper_bound(sums_, drawn) - sums_.begin();
  }
  return order;
}

std::vector<double> class_balanced_weights(const Dataset& data, std::string_view head) {
  const std::size_t place = data::find_head(data.heads(), head, "class_balanced_weights");
  const auto label_of = [&](std::int64_t image) {
    data::require_labels(data.name(image), data.labels(image), data.heads());
    return data.labels(image)[place];
  };
  std::vector<std::int64_t> images(data.heads()[place].classes.size());
  std::int64_t labelled = 0;
  for (std::int64_t image = 0; image < data.size(); ++image) {
    const std::int32_t label = label_of(image);
    if (label == no_label) continue;
    ++images[static_cast<std::size_t>(label)];
    ++labelled;
  }
  if (labelled == 0) {
    throw Error(fmt::format("class_balanced_weights: no image has a label of {} to balance by", head),
                ErrorCode::invalid_data);
  }
  const auto seen = std::ranges::count_if(images, [](std::int64_t count) { return count > 0; });
  const double mean = static_cast<double>(seen) / static_cast<double>(labelled);
  std::vector<double> weights;
  for (std::int64_t image = 0; image < data.size(); ++image) {
    const std::int32_t label = label_of(image);
    weights.push_back(label == no_label ? mean : 1 / static_cast<double>(images[static_cast<std::size_t>(label)]));
  }
  return weights;
}

std::vector<std::int64_t> epoch_order(std::int64_t count, std::uint64_t seed, std::int64_t epoch) {
  std::vector<std::int64_t> order = SequentialSampler().order(count, seed, epoch);
  base::RandomStream random(seed, base::Purpose::order, static_cast<std::uint64_t>(epoch));
  for (std::size_t left = order.size(); left > 1; --left) {
    std::swap(order[left - 1], order[random.below(static_cast<std::uint32_t>(left))]);
  }
  return order;
}

PositionRange share_of(std::int64_t count, std::int64_t rank, std::int64_t world) {
  if (count < 0) throw Error(fmt::format("{} items are shared between processes; at least 0 are needed", count));
  if (world < 1) throw Error(fmt::format("world is {}; at least 1 process is needed", world));
  if (rank < 0 || rank >= world) throw Error(fmt::format("rank is {}; 0 to {} are allowed", rank, world - 1));
  const std::int64_t each = count / world, more = count % world;
  return {.first = rank * each + std::min(rank, more), .size = each + (rank < more ? 1 : 0)};
}

std::int64_t BatchPlan::batches() const {
  if (batch < 1) throw Error(fmt::format("a batch of {} images is planned; at least 1 is needed", batch));
  if (images < 0) throw Error(fmt::format("an epoch of {} images is planned; at least 0 are needed", images));
  const std::int64_t full = images / batch;
  return drop_last || images % batch == 0 ? full : full + 1;
}

PositionRange BatchPlan::whole(std::int64_t index) const {
  const std::int64_t count = batches();
  if (index < 0 || index >= count) {
    throw Error(count == 0 ? fmt::format("batch {} is requested; the epoch has none", index)
                           : fmt::format("batch {} is requested; 0 to {} are allowed", index, count - 1));
  }
  const std::int64_t first = index * batch;
  return {.first = first, .size = std::min(batch, images - first)};
}

PositionRange BatchPlan::share(std::int64_t index) const {
  const PositionRange all = whole(index);
  const PositionRange own = share_of(all.size, rank, world);
  return {.first = all.first + own.first, .size = own.size};
}

}  // namespace facet
