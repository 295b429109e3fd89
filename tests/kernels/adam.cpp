#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "each_cpu_isa.h"
#include "kernels/update.h"

using namespace facet;

namespace {

struct State {
  std::vector<float> weight, gradient, m, v;
  std::vector<std::uint16_t> weight_bf16;
};

/// `count` elements and one more, which must stay.
State random_state(std::int64_t count) {
  const auto size = static_cast<std::size_t>(count) + 1;
  State state{std::vector<float>(size), std::vector<float>(size), std::vector<float>(size), std::vector<float>(size),
              std::vector<std::uint16_t>(size, 0x1234)};
  base::RandomStream random(3, base::Purpose::synthesis);
  for (std::size_t i = 0; i < size; ++i) {
    state.weight[i] = random.normal();
    state.gradient[i] = random.normal() * std::exp2(random.uniform(-20.0F, 10.0F));
    state.m[i] = state.gradient[i] * random.uniform(-1.0F, 1.0F);
    state.v[i] = state.gradient[i] * state.gradient[i] * random.uniform(0.5F, 2.0F);
  }
  return state;
}

void step(State& state, const kernels::AdamFactors& factors, bool with_bf16 = true) {
  kernels::adam({.weight = state.weight.data(),
                 .gradient = state.gradient.data(),
                 .weight_bf16 = with_bf16 ? state.weight_bf16.data() : nullptr,
                 .count = static_cast<std::int64_t>(state.weight.size()) - 1},
                state.m.data(), state.v.data(), factors);
}

/// Largest error of weight, m and v against a step in double, as a share of what they are made of.
double largest_error(const State& before, const State& after, const kernels::AdamFactors& f) {
  double error = 0;
  const double correction1 = 1 - std::pow(f.beta1, f.step);
  const double correction2 = 1 - std::pow(f.beta2, f.step);
  for (std::size_t i = 0; i + 1 < before.weight.size(); ++i) {
    const double g = before.gradient[i];
    const double m = f.beta1 * before.m[i] + (1 - f.beta1) * g;
    const double v = f.beta2 * before.v[i] + (1 - f.beta2) * g * g;
    const double update = f.learning_rate / correction1 * m / (std::sqrt(v / correction2) + f.eps);
    const double weight = before.weight[i] - update;
    error = std::max(error, std::fabs(after.m[i] - m) / (std::fabs(before.m[i]) + std::fabs(g)));
    error = std::max(error, std::fabs(after.v[i] - v) / v);
    error = std::max(error, std::fabs(after.weight[i] - weight) /
                                (std::fabs(static_cast<double>(before.weight[i])) + 10 * f.learning_rate));
  }
  return error;
}

constexpr kernels::AdamFactors paper{.learning_rate = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = 1};

}  // namespace

TEST_CASE("adam agrees with a step in double, for any length") {
  for_each_cpu_isa([&] {
    for (std::int64_t count = 0; count <= 103; ++count) {
      if (count > 100) count = 100'000 * (count - 100) + 1;
      CAPTURE(count);
      for (const std::int64_t number : {1, 2, 1000, 1'000'000'000}) {
        kernels::AdamFactors factors = paper;
        factors.step = number;
        factors.learning_rate = 0.01;
        const State before = random_state(count);
        State after = before;
        step(after, factors);
        CHECK(largest_error(before, after, factors) < 3e-7);
        const auto last = static_cast<std::size_t>(count);
        CHECK(after.weight[last] == before.weight[last]);
        CHECK(after.m[last] == before.m[last]);
        CHECK(after.v[last] == before.v[last]);
        CHECK(after.weight_bf16[last] == 0x1234);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < last; ++i) wrong += after.weight_bf16[i] != nearest_bf16(after.weight[i]) ? 1 : 0;
        CHECK(wrong == 0);
      }
      if (count > 100) break;
    }
  });
}

TEST_CASE("adam's first step from zero moments is the learning rate against the gradient's sign") {
  for_each_cpu_isa([&] {
    State state{{1.0F, 1.0F, 1.0F, 0}, {1e-3F, -1e3F, 0.0F, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}};
    step(state, paper);
    CHECK(state.weight[0] == doctest::Approx(1 - 1e-4 / (1 + 1e-5)).epsilon(1e-7));
    CHECK(state.weight[1] == doctest::Approx(1 + 1e-4).epsilon(1e-7));
    CHECK(state.weight[2] == 1.0F);
  });
}

TEST_CASE("adam gives the same bits with and without bf16 weights, and for any number of threads") {
  for_each_cpu_isa([&] {
    const State before = random_state(100'003);
    State alone = before;
    {
      const base::ComputeScope one_thread(1);
      step(alone, paper, false);
    }
    for (const int threads : {1, 2, 3}) {
      const base::ComputeScope scope(threads);
      State after = before;
      step(after, paper);
      CHECK(after.weight == alone.weight);
      CHECK(after.m == alone.m);
      CHECK(after.v == alone.v);
    }
    CHECK(alone.weight_bf16 == before.weight_bf16);
  });
}

TEST_CASE("adam lets a gradient that isn't finite show") {
  for_each_cpu_isa([&] {
    State state = random_state(40);
    state.gradient[7] = std::nanf("");
    step(state, paper);
    CHECK(std::isnan(state.weight[7]));
    CHECK(std::isfinite(state.weight[8]));
  });
}

TEST_CASE("adam and sgd tell of what isn't finite, wherever it is") {
  constexpr std::int64_t count = 100'003;
  const float nan = std::nanf(""), infinity = std::numeric_limits<float>::infinity();
  for_each_cpu_isa([&] {
    const auto adam = [&](State state) {
      return kernels::adam({.weight = state.weight.data(),
                            .gradient = state.gradient.data(),
                            .weight_bf16 = state.weight_bf16.data(),
                            .count = count},
                           state.m.data(), state.v.data(),
                           {.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = 2});
    };
    const auto sgd = [&](State state, double momentum) {
      return kernels::sgd({.weight = state.weight.data(),
                           .gradient = state.gradient.data(),
                           .weight_bf16 = state.weight_bf16.data(),
                           .count = count},
                          momentum == 0 ? nullptr : state.m.data(), {.learning_rate = 1e-3, .momentum = momentum});
    };
    const auto all = [&](const State& state, bool finite) {
      CHECK(adam(state) == finite);
      CHECK(sgd(state, 0) == finite);
      CHECK(sgd(state, 0.9) == finite);
    };
    const State sound = random_state(count);
    all(sound, true);
    for (const std::size_t at : {0, 7, 8192, 100'001, 100'002, 100'003}) {
      for (const float value : {nan, infinity, -infinity}) {
        CAPTURE(at);
        CAPTURE(value);
        State state = sound;
        state.weight[at] = value;
        all(state, at == count);  // the one after the last
        state = sound;
        state.gradient[at] = value;
        all(state, at == count);
      }
    }
    State large = sound;
    large.gradient[5] = 1e30F;  // its square is none: the weight stays finite, and never moves again
    CHECK(!adam(large));
    CHECK(sgd(large, 0.9));
  });
}
