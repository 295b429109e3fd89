#include "optim/gradients.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "each_cpu_isa.h"

using namespace facet;

namespace {

std::vector<float> random_values(std::int64_t count, std::uint64_t seed) {
  base::RandomStream random(seed, base::Purpose::synthesis);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = random.normal();
  return values;
}

double exact_squares(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return sum;
}

}  // namespace

TEST_CASE("sums of squares and of gradients agree with double, for any length") {
  for_each_cpu_isa([&] {
    for (const std::int64_t count : {0, 1, 7, 16, 31, 4095, 4096, 4097, 100'003, 5'000'001}) {
      CAPTURE(count);
      const std::vector<float> first = random_values(count, 1), second = random_values(count, 2);
      const double exact = exact_squares(first);
      CHECK(std::abs(optim::sum_of_squares(first.data(), count) - exact) <= 1e-6 * exact);
      std::vector<float> sum(first.size() + 1, std::numeric_limits<float>::quiet_NaN());
      CHECK(optim::accumulate(first.data(), sum.data(), count, false) == optim::sum_of_squares(first.data(), count));
      CHECK(std::vector<float>(sum.begin(), sum.end() - 1) == first);
      const double squares = optim::accumulate(second.data(), sum.data(), count, true);
      CHECK(std::isnan(sum.back()));
      sum.pop_back();
      std::vector<float> expected = first;
      for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += second[i];
      CHECK(sum == expected);
      CHECK(squares == optim::sum_of_squares(sum.data(), count));
    }
  });
}

TEST_CASE("sums of squares have the same bits for any number of threads, and propagate non-finite values") {
  std::vector<float> values = random_values(300'001, 3);
  const double sum = optim::sum_of_squares(values.data(), 300'001);
  for (const int threads : {1, 2, 3}) {
    const base::ComputeScope scope(threads);
    CHECK(optim::sum_of_squares(values.data(), 300'001) == sum);
  }
  values[200'000] = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(optim::sum_of_squares(values.data(), 300'001)));
  values[200'000] = std::numeric_limits<float>::infinity();
  CHECK(std::isinf(optim::sum_of_squares(values.data(), 300'001)));
}

TEST_CASE("average agrees with double for any length; a decay of 0 copies, and equal values stay") {
  for_each_cpu_isa([&] {
    for (const std::int64_t count : {0, 1, 7, 16, 31, 100, 20'003}) {
      CAPTURE(count);
      const std::vector<float> values = random_values(count, 1);
      const std::vector<float> before = random_values(count + 1, 2);
      std::vector<float> average = before;
      optim::average(values.data(), average.data(), count, 0.99);
      CHECK(average.back() == before.back());
      for (std::size_t i = 0; i < values.size(); ++i) {
        CHECK(std::abs(average[i] - (0.99 * before[i] + 0.01 * values[i])) <= 1e-6);
      }
      optim::average(values.data(), average.data(), count, 0);
      average.pop_back();
      CHECK(average == values);
      optim::average(values.data(), average.data(), count, 0.9);
      CHECK(average == values);
    }
  });
}
