#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "each_cpu_isa.h"
#include "kernels/update.h"

using namespace facet;

namespace {

struct State {
  std::vector<float> weight, gradient, buffer;
  std::vector<std::uint16_t> weight_bf16;
};

/// `count` elements and one more, which must stay.
State random_state(std::int64_t count) {
  const auto size = static_cast<std::size_t>(count) + 1;
  State state{std::vector<float>(size), std::vector<float>(size), std::vector<float>(size),
              std::vector<std::uint16_t>(size, 0x1234)};
  base::RandomStream random(4, base::Purpose::synthesis);
  for (std::size_t i = 0; i < size; ++i) {
    state.weight[i] = random.normal();
    state.gradient[i] = random.normal();
    state.buffer[i] = random.normal();
  }
  return state;
}

void step(State& state, const kernels::SgdFactors& factors) {
  kernels::sgd({.weight = state.weight.data(),
                .gradient = state.gradient.data(),
                .weight_bf16 = state.weight_bf16.data(),
                .count = static_cast<std::int64_t>(state.weight.size()) - 1},
               factors.momentum == 0 ? nullptr : state.buffer.data(), factors);
}

/// Largest error of weight and buffer against a step in double.
double largest_error(const State& before, const State& after, const kernels::SgdFactors& f) {
  double error = 0;
  for (std::size_t i = 0; i + 1 < before.weight.size(); ++i) {
    const double g = before.gradient[i] + f.weight_decay * before.weight[i];
    const double buffer = f.momentum == 0 ? before.buffer[i] : f.momentum * before.buffer[i] + g;
    const double direction = f.momentum == 0 ? g : f.nesterov ? g + f.momentum * buffer : buffer;
    error = std::max(error, std::fabs(after.buffer[i] - buffer));
    error = std::max(error, std::fabs(after.weight[i] - (before.weight[i] - f.learning_rate * direction)));
  }
  return error;
}

}  // namespace

TEST_CASE("sgd agrees with a step in double, for any length") {
  for_each_cpu_isa([&] {
    for (const std::int64_t count : {0, 1, 7, 8, 15, 16, 17, 31, 100, 100'003}) {
      CAPTURE(count);
      for (const kernels::SgdFactors& factors :
           {kernels::SgdFactors{.learning_rate = 0.1, .momentum = 0},
            {.learning_rate = 0.1, .momentum = 0.9},
            {.learning_rate = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.05}}) {
        CAPTURE(factors.momentum);
        const State before = random_state(count);
        State after = before;
        step(after, factors);
        CHECK(largest_error(before, after, factors) < 2e-6);
        const auto last = static_cast<std::size_t>(count);
        CHECK(after.weight[last] == before.weight[last]);
        CHECK(after.buffer[last] == before.buffer[last]);
        CHECK(after.weight_bf16[last] == 0x1234);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < last; ++i) wrong += after.weight_bf16[i] != nearest_bf16(after.weight[i]) ? 1 : 0;
        CHECK(wrong == 0);
      }
    }
  });
}

TEST_CASE("sgd gives the same bits for any number of threads, and lets a gradient that isn't finite show") {
  const kernels::SgdFactors factors{.learning_rate = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.05};
  for_each_cpu_isa([&] {
    State before = random_state(100'003);
    before.gradient[7] = std::nanf("");
    State alone = before;
    {
      const base::ComputeScope one_thread(1);
      step(alone, factors);
    }
    CHECK(std::isnan(alone.weight[7]));
    CHECK(std::isfinite(alone.weight[8]));
    alone.weight[7] = alone.buffer[7] = 0;
    for (const int threads : {2, 3}) {
      const base::ComputeScope scope(threads);
      State after = before;
      step(after, factors);
      after.weight[7] = after.buffer[7] = 0;
      CHECK(after.weight == alone.weight);
      CHECK(after.buffer == alone.buffer);
    }
  });
}
