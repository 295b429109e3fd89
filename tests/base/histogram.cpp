#include "base/histogram.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "base/parallel.h"

using facet::base::ComputeScope;
using facet::base::Histogram;

namespace {

std::vector<float> drawn(std::size_t count) {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal(0.1F, 2);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

Histogram of(const std::vector<float>& values, float scale = 1, int threads = 2) {
  const ComputeScope scope(threads);
  Histogram histogram;
  histogram.add(values, scale);
  return histogram;
}

/// The number of values in the bucket of `value`.
std::int64_t count_at(const Histogram& histogram, float value) {
  return histogram.counts.at(std::bit_cast<std::uint32_t>(value) >> 20);
}

}  // namespace

TEST_CASE("a histogram has eight buckets of equal width between two powers of two, of either sign") {
  const Histogram histogram = of({1.0F, 1.124F, 1.125F, 1.999F, 2.0F, 2.24F, 2.25F, -1.0F, -1.12F, -3.9F, 0.0F, -0.0F});
  CHECK(histogram.counts.size() == Histogram::bucket_count);
  CHECK(count_at(histogram, 1.1F) == 2);
  CHECK(count_at(histogram, 1.2F) == 1);
  CHECK(count_at(histogram, 1.9F) == 1);
  CHECK(count_at(histogram, 2.1F) == 2);
  CHECK(count_at(histogram, 2.3F) == 1);
  CHECK(count_at(histogram, -1.1F) == 2);
  CHECK(count_at(histogram, -3.8F) == 1);
  std::int64_t zeros = 0, all = 0;
  for (std::size_t bucket = 0; bucket < Histogram::bucket_count; ++bucket) {
    all += histogram.counts[bucket];
    if (Histogram::is_zero(bucket)) zeros += histogram.counts[bucket];
  }
  CHECK(zeros == 2);
  CHECK(all == 12);
  CHECK(histogram.sums.min == -3.9F);
  CHECK(histogram.sums.max == 2.25F);
}

TEST_CASE("a histogram's sums are those of the values times the scale, on any number of threads") {
  const std::vector<float> values = drawn(300'000);
  const Histogram one = of(values, 0.5F, 1), two = of(values, 0.5F, 2);
  double sum = 0, squares = 0;
  for (const float value : values) {
    sum += 0.5 * static_cast<double>(value);
    squares += 0.25 * static_cast<double>(value) * value;
  }
  CHECK(one.sums.sum == doctest::Approx(sum).epsilon(1e-12));
  CHECK(one.sums.sum_squares == doctest::Approx(squares).epsilon(1e-6));
  CHECK(one.sums.min == 0.5F * *std::ranges::min_element(values));
  CHECK(one.sums.max == 0.5F * *std::ranges::max_element(values));
  CHECK(one.counts == two.counts);
  CHECK(one.sums.sum == two.sums.sum);
  CHECK(one.sums.sum_squares == two.sums.sum_squares);
}

TEST_CASE("a histogram of parts is that of the whole, and one of nothing is empty") {
  const std::vector<float> values = drawn(1000);
  Histogram parts;
  parts.add(std::span(values).first(300), 1);
  parts.add(std::span(values).subspan(300), 1);
  parts.add({}, 1);
  const Histogram whole = of(values);
  CHECK(parts.counts == whole.counts);
  CHECK(parts.sums.sum == doctest::Approx(whole.sums.sum).epsilon(1e-12));
  CHECK(parts.sums.min == whole.sums.min);
  const Histogram none;
  CHECK(none.counts.empty());
  CHECK(none.sums.min > none.sums.max);
}
