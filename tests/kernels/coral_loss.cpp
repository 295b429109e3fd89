#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "kernels/loss.h"

using namespace facet;

namespace {

constexpr float quiet_nan = std::numeric_limits<float>::quiet_NaN();

struct Problem {
  std::int64_t images, classes;
  std::vector<float> logits;
  std::vector<std::int32_t> labels;  ///< a third is -1
  std::vector<float> distributions;  ///< NaN for the same images
};

Problem random_problem(std::int64_t images, std::int64_t classes) {
  base::RandomStream random(8, base::Purpose::synthesis, static_cast<std::uint64_t>(classes));
  Problem problem{images, classes, {}, {}, {}};
  for (std::int64_t i = 0; i < images * (classes - 1); ++i) problem.logits.push_back(random.normal() * 5);
  for (std::int64_t n = 0; n < images; ++n) {
    const bool missing = random.below(3) == 0;
    problem.labels.push_back(missing ? -1
                                     : static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(classes))));
    for (std::int64_t c = 0; c < classes; ++c) problem.distributions.push_back(missing ? quiet_nan : random.uniform());
  }
  return problem;
}

/// The loss of one image whose class is c.
double loss_of(const float* logits, std::int64_t classes, std::int64_t c) {
  long double loss = 0;
  for (std::int64_t k = 0; k + 1 < classes; ++k) {
    const long double x = c > k ? logits[k] : -logits[k];
    loss += std::log1p(std::exp(-x));
  }
  return static_cast<double>(loss);
}

/// Sums the losses of labels or distributions by their definition.
kernels::LossSums expected(const Problem& p, bool distributions, const kernels::LossRule& rule) {
  kernels::LossSums sums;
  const auto weight = [&](std::int64_t c) { return rule.class_weights.empty() ? 1 : rule.class_weights.at(c); };
  for (std::int64_t n = 0; n < p.images; ++n) {
    if (p.labels[n] < 0) continue;
    const float* const row = p.logits.data() + n * (p.classes - 1);
    for (std::int64_t c = 0; c < p.classes; ++c) {
      const double smooth = rule.smoothing / static_cast<double>(p.classes) * weight(c);
      const double own =
          distributions ? p.distributions[n * p.classes + c] * weight(c) : (c == p.labels[n] ? weight(c) : 0);
      sums.loss += ((1 - rule.smoothing) * own + smooth) * loss_of(row, p.classes, c);
    }
    ++sums.labelled;
    sums.weight += distributions ? 1 : weight(p.labels[n]);
  }
  return sums;
}

template <class Target>
kernels::LossSums forward(const Problem& p, const Target* targets, const kernels::LossRule& rule = {},
                          float* probabilities = nullptr) {
  return kernels::coral_loss(p.logits.data(), targets, p.images, p.classes, probabilities, rule);
}

/// Compares gradients with the slopes of the mean loss, times the head's weight.
template <class Target>
void check_slopes(Problem p, const Target* targets, const kernels::LossRule& rule) {
  const kernels::LossSums sums = forward(p, targets, rule);
  std::vector<float> gradient(p.logits.size(), 7);
  kernels::coral_loss_backward(p.logits.data(), targets, p.images, p.classes, sums.weight, gradient.data(), rule);
  double error = 0;
  for (std::size_t i = 0; i < p.logits.size(); ++i) {
    const float before = p.logits[i];
    constexpr float step = 0x1p-6F;
    p.logits[i] = before + step;
    const double above = forward(p, targets, rule).mean();
    const double up = p.logits[i];
    p.logits[i] = before - step;
    const double below = forward(p, targets, rule).mean();
    const double slope = rule.weight * (above - below) / (up - static_cast<double>(p.logits[i]));
    p.logits[i] = before;
    error = std::max(error, std::abs(slope - gradient[i]));
  }
  CHECK(error <= 1e-4);
}

}  // namespace

TEST_CASE("coral_loss agrees with its definition, for labels and distributions, smoothed and weighted or not") {
  for (const std::int64_t classes : {2, 3, 9, 70}) {
    for (const std::int64_t images : {0, 1, 63, 513}) {
      CAPTURE(classes);
      CAPTURE(images);
      const Problem p = random_problem(images, classes);
      kernels::LossRule rule;
      for (int pass = 0; pass < 2; ++pass) {  // plain, then smoothed and weighted
        for (const bool distributions : {false, true}) {
          const kernels::LossSums sums =
              distributions ? forward(p, p.distributions.data(), rule) : forward(p, p.labels.data(), rule);
          const kernels::LossSums wanted = expected(p, distributions, rule);
          CHECK(sums.loss == doctest::Approx(wanted.loss).epsilon(1e-10));
          CHECK(sums.labelled == wanted.labelled);
          CHECK(sums.weight == doctest::Approx(wanted.weight));
        }
        rule.smoothing = 0.1;
        for (std::int64_t c = 0; c < classes; ++c) rule.class_weights.push_back(0.25 * static_cast<double>(c % 4));
      }
    }
  }
}

TEST_CASE("coral_loss: gradients are the slopes of the loss; images without a label have none") {
  const Problem p = random_problem(7, 5);
  for (const kernels::LossRule& rule :
       {kernels::LossRule{}, kernels::LossRule{.smoothing = 0.2, .class_weights = {1, 0, 2, 0.5, 1}, .weight = 3}}) {
    check_slopes(p, p.labels.data(), rule);
    check_slopes(p, p.distributions.data(), rule);
  }
  std::vector<float> gradient(p.logits.size(), 7);
  kernels::coral_loss_backward(p.logits.data(), p.labels.data(), 7, 5, 4, gradient.data());
  for (std::size_t n = 0; n < 7; ++n) {
    for (std::size_t k = 0; k < 4; ++k) CHECK((gradient[n * 4 + k] == 0) == (p.labels[n] < 0));
  }
}

TEST_CASE("coral_loss: a distribution that is certain is a label, and a mixed one mixes the losses") {
  const Problem p = random_problem(1, 4);
  std::vector<double> losses;
  for (std::int32_t label = 0; label < 4; ++label) {
    std::vector<float> certain(4);
    certain[static_cast<std::size_t>(label)] = 1;
    losses.push_back(forward(p, &label).loss);
    CHECK(forward(p, certain.data()).loss == losses.back());
  }
  const std::vector<float> mixed{0, 0.75F, 0, 0.25F};
  CHECK(forward(p, mixed.data()).loss == doctest::Approx(0.75 * losses[1] + 0.25 * losses[3]));
}

TEST_CASE(
    "mixtures of labels: the loss is the sum of the labels' losses, each with its weight, and so is the gradient") {
  // Of three images: two labels, one of two labels (the other is missing), and no label.
  const std::vector<float> mixed{0, 0.75F, 0, 0.25F, 0.125F, 0, 0, 0, quiet_nan, quiet_nan, quiet_nan, quiet_nan};
  const std::vector<std::pair<std::int32_t, double>> parts[3]{{{1, 0.75}, {3, 0.25}}, {{0, 0.125}}, {}};
  const kernels::LossRule rule{.smoothing = 0.3, .class_weights = {4, 1, 2, 0.5}, .weight = 3, .mixes_labels = true};
  const auto check = [&](std::int64_t outputs, auto labels_loss, auto labels_gradient, auto mixed_loss,
                         auto mixed_gradient) {
    const Problem p = random_problem(3, outputs + 1);  // for its logits, {3, outputs}
    kernels::LossSums sums;
    for (std::size_t n = 0; n < 3; ++n) {
      for (const auto& [label, share] : parts[n]) {
        const kernels::LossSums one = labels_loss(p.logits.data() + n * static_cast<std::size_t>(outputs), label);
        sums.loss += share * one.loss;
        sums.weight += share * one.weight;
      }
    }
    const kernels::LossSums found = mixed_loss(p.logits.data());
    CHECK(found.loss == doctest::Approx(sums.loss));
    CHECK(found.weight == doctest::Approx(sums.weight));
    CHECK(found.labelled == 2);
    std::vector<float> gradient(p.logits.size(), 7), wanted(p.logits.size()), one(static_cast<std::size_t>(outputs));
    mixed_gradient(p.logits.data(), sums.weight, gradient.data());
    for (std::size_t n = 0; n < 3; ++n) {
      const std::size_t at = n * static_cast<std::size_t>(outputs);
      for (const auto& [label, share] : parts[n]) {
        labels_gradient(p.logits.data() + at, label, sums.weight, one.data());
        for (std::size_t i = 0; i < one.size(); ++i) wanted[at + i] += static_cast<float>(share) * one[i];
      }
    }
    for (std::size_t i = 0; i < wanted.size(); ++i) CHECK(gradient[i] == doctest::Approx(wanted[i]).epsilon(1e-5));
  };
  check(
      3, [&](const float* x, std::int32_t label) { return kernels::coral_loss(x, &label, 1, 4, nullptr, rule); },
      [&](const float* x, std::int32_t label, double weight, float* gradient) {
        kernels::coral_loss_backward(x, &label, 1, 4, weight, gradient, rule);
      },
      [&](const float* x) { return kernels::coral_loss(x, mixed.data(), 3, 4, nullptr, rule); },
      [&](const float* x, double weight, float* gradient) {
        kernels::coral_loss_backward(x, mixed.data(), 3, 4, weight, gradient, rule);
      });
  std::vector<float> probabilities(12);
  check(
      4,
      [&](const float* x, std::int32_t label) {
        return kernels::softmax_cross_entropy(x, &label, 1, 4, nullptr, rule);
      },
      [&](const float* x, std::int32_t label, double weight, float* gradient) {
        kernels::softmax_cross_entropy(x, &label, 1, 4, probabilities.data(), rule);
        kernels::softmax_cross_entropy_backward(probabilities.data(), &label, 1, 4, weight, gradient, rule);
      },
      [&](const float* x) { return kernels::softmax_cross_entropy(x, mixed.data(), 3, 4, nullptr, rule); },
      [&](const float* x, double weight, float* gradient) {
        kernels::softmax_cross_entropy(x, mixed.data(), 3, 4, probabilities.data(), rule);
        kernels::softmax_cross_entropy_backward(probabilities.data(), mixed.data(), 3, 4, weight, gradient, rule);
      });
}

TEST_CASE("coral_loss: the class is the number of logits above 0, and probabilities are differences of sigmoids") {
  const Problem p{.images = 3,
                  .classes = 4,
                  .logits = {3, 1, -2, -1, -1, -4, 90, 80, 70},
                  .labels = {2, 1, 3},
                  .distributions = {}};
  std::vector<float> probabilities(12);
  const kernels::LossSums sums = forward(p, p.labels.data(), {}, probabilities.data());
  CHECK(sums.correct == 2);
  CHECK(kernels::coral_class(p.logits.data(), 4) == 2);
  CHECK(kernels::coral_class(p.logits.data() + 3, 4) == 0);
  CHECK(kernels::coral_class(p.logits.data() + 6, 4) == 3);
  const auto above = [](double x) { return 1 / (1 + std::exp(-x)); };
  CHECK(probabilities[0] == doctest::Approx(1 - above(3)));
  CHECK(probabilities[1] == doctest::Approx(above(3) - above(1)));
  CHECK(probabilities[2] == doctest::Approx(above(1) - above(-2)));
  CHECK(probabilities[3] == doctest::Approx(above(-2)));
  CHECK(probabilities[5] == 0);  // equal logits
  CHECK(probabilities[11] == 1);
  CHECK(std::ranges::all_of(probabilities, [](float value) { return value >= 0; }));
}

TEST_CASE("coral_loss: a non-finite logit makes the loss NaN where there is a label, and extreme ones don't") {
  for (const float logit :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), quiet_nan}) {
    for (const std::int32_t label : {0, 1, 2}) {
      const Problem p{.images = 1, .classes = 3, .logits = {logit, 0}, .labels = {label}, .distributions = {}};
      CHECK(std::isnan(forward(p, p.labels.data()).loss));
    }
    const Problem p{.images = 1, .classes = 3, .logits = {logit, 0}, .labels = {-1}, .distributions = {}};
    CHECK(forward(p, p.labels.data()).loss == 0);
  }
  constexpr float largest = std::numeric_limits<float>::max();
  const Problem p{.images = 1, .classes = 3, .logits = {largest, -largest}, .labels = {1}, .distributions = {}};
  CHECK(forward(p, p.labels.data()).loss == 0);
}

TEST_CASE("coral_loss: on several threads it has the bits of one thread") {
  const Problem p = random_problem(1300, 9);
  std::vector<std::vector<float>> gradients;
  std::vector<double> losses;
  for (const int threads : {1, 3}) {
    const base::ComputeScope scope(threads);
    gradients.emplace_back(p.logits.size());
    const kernels::LossSums sums = forward(p, p.labels.data());
    losses.push_back(sums.loss);
    kernels::coral_loss_backward(p.logits.data(), p.labels.data(), p.images, p.classes, sums.weight,
                                 gradients.back().data());
  }
  CHECK(losses[0] == losses[1]);
  CHECK(gradients[0] == gradients[1]);
}
