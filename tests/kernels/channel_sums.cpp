#include "kernels/channel_sums.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "each_cpu_isa.h"

using namespace facet;

namespace {

template <class T>
std::vector<float> sums_of(const kernels::ChannelSumsShape& shape, const std::vector<T>& x) {
  std::vector<float> sums(shape.channels, NAN), scratch(kernels::channel_sums_scratch(shape), NAN);
  kernels::channel_sums(shape, x.data(), sums.data(), scratch.data());
  return sums;
}

}  // namespace

TEST_CASE("channel sums agree with sums in double, with the same bits for any number of threads") {
  for_each_cpu_isa([&] {
    for (const auto& [rows, channels] : {std::pair{1, 1}, {3, 20}, {40, 16}, {1000, 33}, {20'000, 7}, {700, 300}}) {
      CAPTURE(rows);
      CAPTURE(channels);
      base::RandomStream random(3, base::Purpose::synthesis);
      std::vector<float> x(rows * channels);
      std::vector<std::uint16_t> x_bf16;
      std::vector<double> expected(channels), magnitude(channels);
      for (std::size_t i = 0; i < x.size(); ++i) {
        x_bf16.push_back(nearest_bf16(random.normal() + 0.5F));
        x[i] = float_of_bf16(x_bf16[i]);  // exact in both types
        expected[i % channels] += x[i];
        magnitude[i % channels] += std::abs(x[i]);
      }
      for (const std::int64_t threads : {1, 2, 5}) {
        const kernels::ChannelSumsShape shape{rows, channels, threads};
        const std::vector<float> found = sums_of(shape, x);
        for (std::size_t c = 0; c < expected.size(); ++c)
          CHECK(std::abs(found[c] - expected[c]) <= 1e-6 * magnitude[c]);
        CHECK(sums_of(shape, x_bf16) == found);
        const base::ComputeScope scope(3);
        CHECK(sums_of(shape, x) == found);
      }
    }
  });
}
