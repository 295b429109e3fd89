#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "optim/optimizer.h"

namespace facet::optim {
namespace {

constexpr std::size_t count = 37;

/// A parameter with its state, and the same in double by the paper's formulas.
struct Trained {
  std::vector<float> weight = std::vector<float>(count, 0.5F), m = std::vector<float>(count), v = m;
  std::vector<double> exact_weight = std::vector<double>(count, 0.5), exact_m = std::vector<double>(count),
                      exact_v = exact_m;

  void step(const Optimizer& rule, const AdamOptions& o, const std::vector<float>& gradient, std::int64_t step) {
    constexpr float rate = 0.01F;
    rule.update({.target = {.weight = weight.data(),
                            .gradient = gradient.data(),
                            .weight_bf16 = nullptr,
                            .count = static_cast<std::int64_t>(count)},
                 .slots = {m.data(), v.data()},
                 .one_dimension = true},
                {rate, step});
    for (std::size_t i = 0; i < count; ++i) {
      const double g = gradient[i];
      exact_m[i] = o.beta1 * exact_m[i] + (1 - o.beta1) * g;
      exact_v[i] = o.beta2 * exact_v[i] + (1 - o.beta2) * g * g;
      const double corrected_m = exact_m[i] / (1 - std::pow(o.beta1, step));
      const double corrected_v = exact_v[i] / (1 - std::pow(o.beta2, step));
      exact_weight[i] -= rate * corrected_m / (std::sqrt(corrected_v) + o.eps);
    }
  }
};

}  // namespace

TEST_CASE("adam: its state has PyTorch's names") {
  CHECK(adam()->slot_names() == std::vector<std::string>{"exp_avg", "exp_avg_sq"});
}

TEST_CASE("adam: updates by the paper's formulas, with the options' values as they are given") {
  for (const AdamOptions& options : {AdamOptions{}, AdamOptions{0.8, 0.9999, 1e-3}}) {
    CAPTURE(options.beta2);
    const std::unique_ptr<Optimizer> rule = adam(options);
    Trained trained;
    for (std::int64_t step = 1; step <= 4; ++step) {
      std::vector<float> gradient(count);
      for (std::size_t i = 0; i < count; ++i) {
        gradient[i] = static_cast<float>(std::sin(static_cast<double>(i) + static_cast<double>(step)));
      }
      trained.step(*rule, options, gradient, step);
      for (std::size_t i = 0; i < count; ++i) {
        // 1 - 0.9999 as a float's would be off by 2e-4 of itself, 1 - 0.999's by 1e-5.
        CHECK(std::abs(trained.v[i] - trained.exact_v[i]) <= 2e-6 * trained.exact_v[i]);
        CHECK(std::abs(trained.m[i] - trained.exact_m[i]) <= 1e-6);
        CHECK(std::abs(trained.weight[i] - trained.exact_weight[i]) <= 1e-6);
      }
    }
  }
}

}  // namespace facet::optim
