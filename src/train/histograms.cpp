#include "train/histograms.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <span>
#include <vector>

#include "base/histogram.h"

namespace facet::train {
namespace {

using base::Histogram;
constexpr std::size_t half = Histogram::bucket_count / 2;  // the buckets of either sign

/// The lower end of the bucket `index`, of positive values.
double magnitude(std::size_t index) {
  return std::min(std::bit_cast<float>(static_cast<std::uint32_t>(index << 20)), std::numeric_limits<float>::max());
}

/// Adds the histograms of all ranks, each of which has its own part of the values.
Histogram sum_over(comm::Communicator& group, const Histogram& own) {
  std::vector<double> sums(Histogram::bucket_count + 2);  // counts, sum and sum of squares
  std::ranges::copy(own.counts, sums.begin());
  sums[Histogram::bucket_count] = own.sums.sum;
  sums[Histogram::bucket_count + 1] = own.sums.sum_squares;
  group.sum(std::span(sums));
  Histogram all;
  for (std::size_t bucket = 0; bucket < Histogram::bucket_count; ++bucket) {
    all.counts.push_back(static_cast<std::int64_t>(sums[bucket]));
  }
  all.sums = {.sum = sums[Histogram::bucket_count], .sum_squares = sums[Histogram::bucket_count + 1]};
  for (const Histogram::Sums& rank : group.all_gather(own.sums)) {
    all.sums.min = std::min(all.sums.min, rank.min);
    all.sums.max = std::max(all.sums.max, rank.max);
  }
  return all;
}

/// @param counted without the gaps of the parameter's layout, which are 0.
ValueHistogram value_histogram(const Parameter& parameter, const Histogram& counted) {
  ValueHistogram histogram;
  histogram.weight = parameter.name;
  histogram.count = element_count(parameter.shape);
  histogram.sum = counted.sums.sum;
  histogram.sum_squares = counted.sums.sum_squares;
  std::int64_t others = 0;
  const auto add = [&](double low, double high, std::int64_t count) {
    if (count > 0) histogram.buckets.push_back({low, high, count});
    others += count;
  };
  for (std::size_t bucket = half; bucket-- > 8;) {
    add(-magnitude(bucket + 1), -magnitude(bucket), counted.counts[half + bucket]);
  }
  const std::size_t place = histogram.buckets.size();
  for (std::size_t bucket = 8; bucket < half; ++bucket) {
    add(magnitude(bucket), magnitude(bucket + 1), counted.counts[bucket]);
  }
  const std::int64_t zeros = histogram.count - others;
  if (zeros > 0) {
    const double end = std::numeric_limits<float>::min();
    histogram.buckets.insert(histogram.buckets.begin() + static_cast<std::ptrdiff_t>(place), {-end, end, zeros});
  }
  histogram.min = zeros > 0 ? std::min(0.0, static_cast<double>(counted.sums.min)) : counted.sums.min;
  histogram.max = zeros > 0 ? std::max(0.0, static_cast<double>(counted.sums.max)) : counted.sums.max;
  return histogram;
}

}  // namespace

HistogramCollector::HistogramCollector(const Parameters::State& parameters) : parameters_(parameters) {
  own_.gradients.resize(parameters.list.size());
  own_.weights.resize(parameters.list.size());
}

StepHistograms HistogramCollector::result(std::int64_t step, comm::Communicator& group) const {
  StepHistograms histograms{.step = step, .weights = {}, .gradients = {}};
  for (std::size_t i = 0; i < parameters_.list.size(); ++i) {
    const Parameter& parameter = parameters_.list[i];
    if (group.max(own_.weights[i].counts.empty() ? 0 : 1) == 0) continue;  // it isn't trained
    histograms.weights.push_back(value_histogram(parameter, sum_over(group, own_.weights[i])));
    histograms.gradients.push_back(value_histogram(parameter, sum_over(group, own_.gradients[i])));
  }
  return histograms;
}

}  // namespace facet::train
