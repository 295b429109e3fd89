#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "base/random.h"
#include "each_cpu_isa.h"
#include "kernels/update.h"

using namespace facet;

namespace {

std::vector<float> random_values(std::size_t count, std::uint64_t seed) {
  base::RandomStream random(seed, base::Purpose::synthesis);
  std::vector<float> values(count);
  for (float& value : values) value = random.normal();
  return values;
}

}  // namespace

TEST_CASE("average agrees with double for any length; a decay of 0 copies, and what is equal stays") {
  for_each_cpu_isa([&] {
    for (const std::size_t count : {0U, 1U, 7U, 16U, 31U, 100U, 20'003U}) {
      CAPTURE(count);
      const std::vector<float> values = random_values(count, 1);
      const std::vector<float> before = random_values(count + 1, 2);
      std::vector<float> average = before;
      kernels::average(values.data(), average.data(), static_cast<std::int64_t>(count), 0.99);
      CHECK(average.back() == before.back());
      for (std::size_t i = 0; i < count; ++i) {
        CHECK(std::abs(average[i] - (0.99 * before[i] + 0.01 * values[i])) <= 1e-6);
      }
      kernels::average(values.data(), average.data(), static_cast<std::int64_t>(count), 0);
      average.pop_back();
      CHECK(average == values);
      kernels::average(values.data(), average.data(), static_cast<std::int64_t>(count), 0.9);
      CHECK(average == values);
    }
  });
}

TEST_CASE("update rules average the weights that they write") {
  constexpr std::size_t count = 1003;
  const std::vector<float> gradient = random_values(count, 3), start = random_values(count, 4);
  const std::function<void(const kernels::UpdateTarget&, float*, float*)> rules[] = {
      [](const kernels::UpdateTarget& target, float* m, float* v) {
        kernels::adam(target, m, v, {.learning_rate = 0.1, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = 1});
      },
      [](const kernels::UpdateTarget& target, float* m, float*) {
        kernels::sgd(target, m, {.learning_rate = 0.1, .momentum = 0.9});
      }};
  for_each_cpu_isa([&] {
    for (const auto& rule : rules) {
      std::vector<float> weight = start, m(count), v(count), average = random_values(count, 5), expected = average;
      rule({.weight = weight.data(),
            .gradient = gradient.data(),
            .weight_bf16 = nullptr,
            .count = count,
            .average = average.data(),
            .average_decay = 0.7},
           m.data(), v.data());
      kernels::average(weight.data(), expected.data(), count, 0.7);
      CHECK(weight != start);
      CHECK(average == expected);
    }
  });
}
