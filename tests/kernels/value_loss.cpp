#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "kernels/loss.h"

// Losses whose targets are values: binary cross-entropy, the squared error, and cross-entropy of distributions.

using namespace facet;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float quiet_nan = std::numeric_limits<float>::quiet_NaN();

struct Problem {
  std::int64_t images, outputs;
  std::vector<float> logits, targets;  ///< a third of the targets is NaN
};

Problem random_problem(std::int64_t images, std::int64_t outputs) {
  base::RandomStream random(6, base::Purpose::synthesis, static_cast<std::uint64_t>(outputs));
  Problem problem{images, outputs, {}, {}};
  for (std::int64_t i = 0; i < images * outputs; ++i) {
    problem.logits.push_back(random.normal() * 5);
    const float target = random.uniform();
    problem.targets.push_back(random.below(3) == 0 ? quiet_nan : random.below(2) == 0 ? target : std::round(target));
  }
  return problem;
}

/// A distribution over the classes for each image, or none for a third of them.
std::vector<float> random_distributions(std::int64_t images, std::int64_t classes) {
  base::RandomStream random(7, base::Purpose::synthesis);
  std::vector<float> values;
  for (std::int64_t n = 0; n < images; ++n) {
    std::vector<float> row(static_cast<std::size_t>(classes));
    float sum = 0;
    for (float& value : row) sum += value = random.uniform();
    for (float& value : row) value /= sum;
    if (random.below(3) == 0) std::fill(row.begin(), row.end(), quiet_nan);
    values.insert(values.end(), row.begin(), row.end());
  }
  return values;
}

kernels::LossSums binary_loss(const Problem& p) {
  return kernels::binary_cross_entropy(p.logits.data(), p.targets.data(), p.images, p.outputs, nullptr);
}
kernels::LossSums squared_loss(const Problem& p) {
  return kernels::mean_squared_error(p.logits.data(), p.targets.data(), p.images, p.outputs);
}

}  // namespace

TEST_CASE("binary cross-entropy, squared error and their gradients agree with their definitions") {
  for (const std::int64_t outputs : {1, 2, 7, 100}) {
    for (const std::int64_t images : {0, 1, 2, 63, 512, 513, 1300}) {
      CAPTURE(outputs);
      CAPTURE(images);
      const Problem problem = random_problem(images, outputs);
      const std::size_t size = problem.logits.size();
      std::vector<float> probabilities(size + 1, 7.0F), gradient(size + 1, 7.0F), slopes(size + 1, 7.0F);
      const kernels::LossSums binary = kernels::binary_cross_entropy(problem.logits.data(), problem.targets.data(),
                                                                     images, outputs, probabilities.data());
      kernels::binary_cross_entropy_backward(probabilities.data(), problem.targets.data(), images, outputs,
                                             binary.weight, gradient.data());
      const kernels::LossSums squared = squared_loss(problem);
      kernels::mean_squared_error_backward(problem.logits.data(), problem.targets.data(), images, outputs,
                                           squared.weight, slopes.data(), {.weight = 3});
      long double binary_sum = 0, squared_sum = 0;
      std::int64_t present = 0, correct = 0;
      double probability_error = 0, gradient_error = 0, slope_error = 0;
      for (std::size_t i = 0; i < size; ++i) {
        const long double x = problem.logits[i], t = problem.targets[i], p = 1 / (1 + std::exp(-x));
        const bool missing = std::isnan(problem.targets[i]);
        probability_error = std::max(probability_error, static_cast<double>(std::fabs(probabilities[i] - p)));
        const long double expected = missing ? 0 : p - t, slope = missing ? 0 : 6 * (x - t);
        gradient_error =
            std::max(gradient_error, static_cast<double>(std::fabs(gradient[i] * binary.weight - expected)));
        slope_error = std::max(slope_error, static_cast<double>(std::fabs(slopes[i] * squared.weight - slope)));
        if (missing) continue;
        ++present;
        binary_sum -= t * std::log(p) + (1 - t) * std::log(1 / (1 + std::exp(x)));
        squared_sum += (x - t) * (x - t);
        correct += (p >= 0.5) == (t >= 0.5) ? 1 : 0;
      }
      CHECK(binary.loss == doctest::Approx(static_cast<double>(binary_sum)).epsilon(1e-12));
      CHECK(binary.labelled == present);
      CHECK(binary.weight == present);
      CHECK(binary.correct == correct);
      CHECK(squared.loss == doctest::Approx(static_cast<double>(squared_sum)).epsilon(1e-12));
      CHECK(squared.labelled == present);
      CHECK(probability_error < 1e-7);
      CHECK(gradient_error < 3e-7);
      CHECK(slope_error < 1e-5);
      CHECK(probabilities[size] == 7.0F);
      CHECK(gradient[size] == 7.0F);
      CHECK(slopes[size] == 7.0F);
      CHECK(binary_loss(problem).loss == binary.loss);
    }
  }
}

TEST_CASE("cross-entropy of distributions and its gradient agree with their definition") {
  const std::int64_t images = 700, classes = 5;
  std::vector<float> logits = random_problem(images, classes).logits;
  const std::vector<float> distributions = random_distributions(images, classes);
  std::vector<float> probabilities(logits.size()), gradient(logits.size());
  const kernels::LossSums sums =
      kernels::softmax_cross_entropy(logits.data(), distributions.data(), images, classes, probabilities.data());
  kernels::softmax_cross_entropy_backward(probabilities.data(), distributions.data(), images, classes, sums.weight,
                                          gradient.data());
  long double loss = 0;
  std::int64_t labelled = 0;
  double error = 0;
  for (std::int64_t n = 0; n < images; ++n) {
    const float* const x = logits.data() + n * classes;
    const float* const q = distributions.data() + n * classes;
    const bool missing = std::isnan(q[0]);
    labelled += missing ? 0 : 1;
    long double denominator = 0;
    for (std::int64_t c = 0; c < classes; ++c) denominator += std::exp(static_cast<long double>(x[c]));
    for (std::int64_t c = 0; c < classes; ++c) {
      const long double p = std::exp(static_cast<long double>(x[c])) / denominator;
      const long double slope = missing ? 0 : p - q[c];
      if (!missing) loss -= q[c] * std::log(p);
      const float found = gradient[static_cast<std::size_t>(n * classes + c)];
      error = std::max(error, static_cast<double>(std::fabs(found * sums.weight - slope)));
    }
  }
  CHECK(sums.loss == doctest::Approx(static_cast<double>(loss)).epsilon(1e-12));
  CHECK(sums.labelled == labelled);
  CHECK(error < 5e-7);
}

TEST_CASE("a distribution with one class is that class's label") {
  const std::int64_t images = 50, classes = 4;
  const std::vector<float> logits = random_problem(images, classes).logits;
  std::vector<std::int32_t> labels;
  std::vector<float> distributions(logits.size(), 0.0F);
  for (std::int64_t n = 0; n < images; ++n) {
    labels.push_back(static_cast<std::int32_t>(n % 5) - 1);
    float* const row = distributions.data() + n * classes;
    if (labels.back() < 0) {
      std::fill_n(row, classes, quiet_nan);
    } else {
      row[labels.back()] = 1;
    }
  }
  const kernels::LossRule rule{.smoothing = 0.1};
  const auto by_label = kernels::softmax_cross_entropy(logits.data(), labels.data(), images, classes, nullptr, rule);
  const auto by_distribution =
      kernels::softmax_cross_entropy(logits.data(), distributions.data(), images, classes, nullptr, rule);
  CHECK(by_distribution.loss == doctest::Approx(by_label.loss).epsilon(1e-13));
  CHECK(by_distribution.labelled == by_label.labelled);
  CHECK(by_distribution.correct == by_label.correct);
  CHECK(by_distribution.weight == by_label.weight);
}

TEST_CASE("the losses of values have the same bits for any number of threads") {
  const Problem problem = random_problem(3000, 9);
  const std::vector<float> distributions = random_distributions(3000, 9);
  const auto all = [&] {
    return std::vector<double>{
        binary_loss(problem).loss, squared_loss(problem).loss,
        kernels::softmax_cross_entropy(problem.logits.data(), distributions.data(), 3000, 9, nullptr).loss};
  };
  const std::vector<double> losses = all();
  for (const int threads : {1, 2, 3}) {
    const base::ComputeScope scope(threads);
    CHECK(all() == losses);
  }
}

TEST_CASE("without a target there is no loss and no gradient, whatever the logits") {
  const Problem problem{2, 2, {1, -infinity, quiet_nan, 3}, std::vector<float>(4, quiet_nan)};
  std::vector<float> probabilities(4), gradient(4, 7.0F);
  for (const float* targets : {problem.targets.data(), static_cast<const float*>(nullptr)}) {
    const auto binary = kernels::binary_cross_entropy(problem.logits.data(), targets, 2, 2, probabilities.data());
    CHECK(binary.loss == 0);
    CHECK(binary.mean() == 0);
    CHECK(binary.labelled == 0);
    CHECK(probabilities[0] == doctest::Approx(1 / (1 + std::exp(-1.0))));
    kernels::binary_cross_entropy_backward(probabilities.data(), targets, 2, 2, 0, gradient.data());
    CHECK(gradient == std::vector<float>(4, 0.0F));
    CHECK(kernels::mean_squared_error(problem.logits.data(), targets, 2, 2).loss == 0);
    gradient.assign(4, 7.0F);
    kernels::mean_squared_error_backward(problem.logits.data(), targets, 2, 2, 0, gradient.data());
    CHECK(gradient == std::vector<float>(4, 0.0F));
  }
  CHECK(kernels::softmax_cross_entropy(problem.logits.data(), problem.targets.data(), 2, 2, nullptr).loss == 0);
}

TEST_CASE("a non-finite logit makes the losses of values NaN, also where only another output has a target") {
  for (const float bad : {quiet_nan, infinity, -infinity}) {
    for (const std::size_t position : {0U, 1U}) {
      CAPTURE(bad);
      CAPTURE(position);
      Problem problem{2, 2, {1, 2, 3, 4}, {0.5F, quiet_nan, 1, 0}};
      problem.logits[position] = bad;
      CHECK(std::isnan(binary_loss(problem).loss));
      CHECK(std::isnan(squared_loss(problem).loss));
      problem.targets[0] = quiet_nan;
      CHECK(std::isfinite(binary_loss(problem).loss));
      CHECK(std::isfinite(squared_loss(problem).loss));
    }
  }
}

TEST_CASE("binary cross-entropy neither overflows nor loses precision, and 0.5 counts as above") {
  const auto loss = [](float logit, float target) { return binary_loss({1, 1, {logit}, {target}}); };
  CHECK(loss(3e38F, 0).loss == doctest::Approx(3e38));
  CHECK(loss(-3e38F, 1).loss == doctest::Approx(3e38));
  CHECK(loss(3e38F, 1).loss == 0);
  CHECK(loss(40, 1).loss == doctest::Approx(std::exp(-40.0)).epsilon(1e-6).scale(0));
  CHECK(loss(0, 0.5F).loss == doctest::Approx(std::log(2.0)));
  CHECK(loss(0, 1).correct == 1);
  CHECK(loss(0, 0.5F).correct == 1);
  CHECK(loss(0, 0).correct == 0);
  CHECK(loss(-1, 0.4F).correct == 1);
}
