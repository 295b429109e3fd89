#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "each_cpu_isa.h"
#include "kernels/update.h"

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
      CHECK(std::abs(kernels::sum_of_squares(first.data(), count) - exact) <= 1e-6 * exact);
      std::vector<float> sum(first.size() + 1, std::numeric_limits<float>::quiet_NaN());
      CHECK(kernels::accumulate(first.data(), sum.data(), count, false) ==
            kernels::sum_of_squares(first.data(), count));
      CHECK(std::vector<float>(sum.begin(), sum.end() - 1) == first);
      const double squares = kernels::accumulate(second.data(), sum.data(), count, true);
      CHECK(std::isnan(sum.back()));
      sum.pop_back();
      std::vector<float> expected = first;
      for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += second[i];
      CHECK(sum == expected);
      CHECK(squares == kernels::sum_of_squares(sum.data(), count));
    }
  });
}

TEST_CASE("sums of squares have the same bits for any number of threads, and show what isn't finite") {
  std::vector<float> values = random_values(300'001, 3);
  const double sum = kernels::sum_of_squares(values.data(), 300'001);
  for (const int threads : {1, 2, 3}) {
    const base::ComputeScope scope(threads);
    CHECK(kernels::sum_of_squares(values.data(), 300'001) == sum);
  }
  values[200'000] = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(kernels::sum_of_squares(values.data(), 300'001)));
  values[200'000] = std::numeric_limits<float>::infinity();
  CHECK(std::isinf(kernels::sum_of_squares(values.data(), 300'001)));
}
