#include "facet/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "base/random.h"
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
