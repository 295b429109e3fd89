#include "base/histogram.h"

#include <algorithm>
#include <array>
#include <bit>
#include <mutex>

#include "base/parallel.h"

namespace facet::base {
namespace {

constexpr std::int64_t block = 1 << 16;
constexpr int lower_bits = 32 - 12;
using Counts = std::array<std::uint32_t, Histogram::bucket_count>;

Histogram::Sums count(std::span<const float> values, float scale, Counts& counts) {
  Histogram::Sums sums;
  for (const float given : values) {
    const float value = given * scale;
    const std::uint32_t bucket = std::bit_cast<std::uint32_t>(value) >> lower_bits;
    ++counts[bucket];
    if (Histogram::is_zero(bucket)) continue;
    sums.sum += value;
    sums.sum_squares += static_cast<double>(value) * value;
    sums.min = std::min(sums.min, value);
    sums.max = std::max(sums.max, value);
  }
  return sums;
}

}  // namespace

void Histogram::add(std::span<const float> values, float scale) {
  counts.resize(bucket_count);
  const auto all = std::ssize(values);
  const std::int64_t blocks = (all + block - 1) / block;
  std::vector<Sums> sums_of(static_cast<std::size_t>(blocks));  // added in their order, whatever thread has which
  std::mutex mutex;
  parallel_for(blocks, 1, [&](std::int64_t first, std::int64_t last) {
    Counts piece{};
    for (std::int64_t b = first; b < last; ++b) {
      const std::int64_t begin = b * block;
      const auto part =
          values.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(std::min(block, all - begin)));
      sums_of[static_cast<std::size_t>(b)] = count(part, scale, piece);
    }
    const std::scoped_lock lock(mutex);
    for (std::size_t i = 0; i < piece.size(); ++i) counts[i] += piece[i];
  });
  for (const Sums& block_sums : sums_of) {
    sums.sum += block_sums.sum;
    sums.sum_squares += block_sums.sum_squares;
    sums.min = std::min(sums.min, block_sums.min);
    sums.max = std::max(sums.max, block_sums.max);
  }
}

}  // namespace facet::base
