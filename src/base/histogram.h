#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace facet::base {

/// Counts finite values by sign and magnitude: between two powers of two there are eight buckets of equal width.
class Histogram {
 public:
  /// The bucket of a value is its upper twelve bits: sign, exponent and three bits of the mantissa.
  static constexpr std::size_t bucket_count = 4096;
  /// Whether the bucket is one of 0, -0 and subnormal numbers, which count as 0.
  static constexpr bool is_zero(std::size_t bucket) { return bucket % (bucket_count / 2) < 8; }

  /// Adds each value times `scale`, on the threads of parallel_for(). The result doesn't depend on their number.
  void add(std::span<const float> values, float scale);

  /// Over the values other than 0.
  struct Sums {
    double sum = 0, sum_squares = 0;
    float min = std::numeric_limits<float>::infinity(), max = -std::numeric_limits<float>::infinity();
  };
  Sums sums;
  /// By bucket; empty before the first add().
  std::vector<std::int64_t> counts;
};

}  // namespace facet::base
