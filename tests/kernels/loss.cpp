#include "kernels/loss.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"

using namespace facet;

namespace {

struct Problem {
  std::int64_t images, classes;
  std::vector<float> logits;
  std::vector<std::int32_t> labels;  ///< a third of them -1
};

Problem random_problem(std::int64_t images, std::int64_t classes, float spread) {
  base::RandomStream random(5, base::Purpose::synthesis, static_cast<std::uint64_t>(classes));
  Problem problem{images, classes, {}, {}};
  for (std::int64_t i = 0; i < images * classes; ++i) problem.logits.push_back(random.normal() * spread);
  for (std::int64_t n = 0; n < images; ++n) {
    const auto label = static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(classes)));
    problem.labels.push_back(random.below(3) == 0 ? -1 : label);
  }
  return problem;
}

/// Probabilities in long double, by the definition.
std::vector<long double> softmax(const float* logits, std::int64_t classes) {
  std::vector<long double> p(static_cast<std::size_t>(classes));
  long double largest = logits[0];
  for (std::int64_t c = 0; c < classes; ++c) largest = std::max<long double>(largest, logits[c]);
  long double sum = 0;
  for (std::int64_t c = 0; c < classes; ++c) sum += p[static_cast<std::size_t>(c)] = std::exp(logits[c] - largest);
  for (long double& value : p) value /= sum;
  return p;
}

kernels::LossSums loss_of(const std::vector<float>& logits, const std::vector<std::int32_t>& labels) {
  const auto images = static_cast<std::int64_t>(labels.size());
  return kernels::softmax_cross_entropy(logits.data(), labels.data(), images,
                                        static_cast<std::int64_t>(logits.size()) / images, nullptr);
}

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float quiet_nan = std::numeric_limits<float>::quiet_NaN();

}  // namespace

TEST_CASE("softmax cross-entropy and its gradient agree with their definition") {
  for (const std::int64_t classes : {1, 2, 7, 9, 100, 1000}) {
    for (const std::int64_t images : {0, 1, 2, 63, 64, 511, 512, 513, 1300}) {
      CAPTURE(classes);
      CAPTURE(images);
      const Problem problem = random_problem(images, classes, 3);
      const auto size = static_cast<std::size_t>(images * classes);
      std::vector<float> probabilities(size + 1, 7.0F);
      const kernels::LossSums sums = kernels::softmax_cross_entropy(problem.logits.data(), problem.labels.data(),
                                                                    images, classes, probabilities.data());
      std::vector<float> gradient(size + 1, 7.0F);
      kernels::softmax_cross_entropy_backward(probabilities.data(), problem.labels.data(), images, classes, sums.weight,
                                              gradient.data());
      long double loss = 0;
      std::int64_t labelled = 0;
      std::int64_t correct = 0;
      double probability_error = 0;
      double gradient_error = 0;
      for (std::int64_t n = 0; n < images; ++n) {
        const float* const logits = problem.logits.data() + n * classes;
        const auto p = softmax(logits, classes);
        const std::int32_t label = problem.labels[static_cast<std::size_t>(n)];
        if (label >= 0) {
          labelled += 1;
          loss -= std::log(p[static_cast<std::size_t>(label)]);
          correct += std::max_element(logits, logits + classes) == logits + label ? 1 : 0;
        }
        for (std::int64_t c = 0; c < classes; ++c) {
          const auto i = static_cast<std::size_t>(n * classes + c);
          const long double expected = p[static_cast<std::size_t>(c)];
          probability_error =
              std::max(probability_error, static_cast<double>(std::fabs(probabilities[i] / expected - 1)));
          const long double slope = label < 0 ? 0 : expected - (c == label ? 1 : 0);
          gradient_error =
              std::max(gradient_error, static_cast<double>(std::fabs(gradient[i] * sums.labelled - slope)));
        }
      }
      CHECK(sums.loss == doctest::Approx(static_cast<double>(loss)).epsilon(1e-12));
      CHECK(sums.labelled == labelled);
      CHECK(sums.weight == labelled);
      CHECK(sums.correct == correct);
      CHECK(probability_error < 1e-7);
      CHECK(gradient_error < 3e-7);
      CHECK(probabilities[size] == 7.0F);
      CHECK(gradient[size] == 7.0F);
      const kernels::LossSums alone =
          kernels::softmax_cross_entropy(problem.logits.data(), problem.labels.data(), images, classes, nullptr);
      CHECK(alone.loss == sums.loss);
      CHECK(alone.correct == sums.correct);
    }
  }
}

TEST_CASE("labels of weight 0 have no loss and no gradient") {
  const std::vector<float> logits{1, 2, 3, 4};
  const std::vector<std::int32_t> labels{1, -1};
  const kernels::LossRule rule{.class_weights = {1, 0}};
  std::vector<float> probabilities(4), gradient(4, quiet_nan);
  const auto sums = kernels::softmax_cross_entropy(logits.data(), labels.data(), 2, 2, probabilities.data(), rule);
  CHECK(sums.labelled == 1);
  CHECK(sums.correct == 1);
  CHECK(sums.mean() == 0);
  kernels::softmax_cross_entropy_backward(probabilities.data(), labels.data(), 2, 2, sums.weight, gradient.data(),
                                          rule);
  CHECK(gradient == std::vector<float>(4, 0.0F));
}

TEST_CASE("the loss has the same bits for any number of threads") {
  const Problem problem = random_problem(3000, 9, 10);
  const double loss = loss_of(problem.logits, problem.labels).loss;
  for (const int threads : {1, 2, 3}) {
    const base::ComputeScope scope(threads);
    CHECK(loss_of(problem.logits, problem.labels).loss == loss);
  }
}

TEST_CASE("huge logits neither overflow nor lose the loss's precision") {
  CHECK(loss_of({1e30F, 0}, {0}).loss == 0.0);
  CHECK(loss_of({3e38F, -3e38F}, {1}).loss == doctest::Approx(6e38));
  CHECK(loss_of({-1e4F, -1e4F}, {1}).loss == doctest::Approx(std::log(2.0)));
  CHECK(loss_of({20, 0}, {0}).loss == doctest::Approx(std::exp(-20.0)).epsilon(1e-6).scale(0));
}

TEST_CASE("a non-finite logit makes the loss NaN, at any position") {
  for (const float bad : {quiet_nan, infinity, -infinity}) {
    for (const std::size_t position : {0U, 1U, 2U}) {
      std::vector<float> logits{1, 2, 3, 1, 2, 3};
      logits[position] = bad;
      CAPTURE(bad);
      CAPTURE(position);
      CHECK(std::isnan(loss_of(logits, {1, 2}).loss));
    }
  }
  CHECK(loss_of({quiet_nan, quiet_nan}, {0}).correct == 0);
  CHECK(std::isfinite(loss_of({quiet_nan, 1, 2, 3}, {-1, 0}).loss));
}

TEST_CASE("the first of equal logits is the prediction") {
  CHECK(loss_of({1, 2, 2}, {1}).correct == 1);
  CHECK(loss_of({1, 2, 2}, {2}).correct == 0);
}

TEST_CASE("a batch without labels has no loss and no gradient") {
  const std::vector<float> logits{1, 2, 3, 4};
  const std::vector<std::int32_t> labels{-1, -1};
  std::vector<float> probabilities(4);
  const auto sums = kernels::softmax_cross_entropy(logits.data(), labels.data(), 2, 2, probabilities.data());
  CHECK(sums.loss == 0);
  CHECK(sums.labelled == 0);
  CHECK(sums.correct == 0);
  CHECK(probabilities[0] + probabilities[1] == doctest::Approx(1));
  std::vector<float> gradient(4, quiet_nan);
  kernels::softmax_cross_entropy_backward(probabilities.data(), labels.data(), 2, 2, 0, gradient.data());
  CHECK(gradient == std::vector<float>(4, 0.0F));
}
