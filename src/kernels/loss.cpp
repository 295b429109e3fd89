#include "kernels/loss.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/parallel.h"
#include "kernels/class_targets.h"
#include "kernels/image_sums.h"

namespace facet::kernels {

namespace {

/// max + log(sum(exp(logit - max))), the logarithm of the softmax's denominator; NaN if any logit is non-finite.
double log_denominator(const float* logits, std::int64_t classes) {
  const double largest = *std::max_element(logits, logits + classes);
  double sum = 0;
  double poison = 0;  // turns the loss into NaN for an infinite logit, whose probability may be 0
  for (std::int64_t c = 0; c < classes; ++c) {
    sum += std::exp(logits[c] - largest);
    poison += 0.0 * logits[c];
  }
  return largest + std::log(sum) + poison;
}

/// Whether the label's logit is the largest, and the first one among equals.
bool is_first_largest(const float* logits, std::int64_t classes, std::int64_t label) {
  for (std::int64_t c = 0; c < classes; ++c) {
    const bool beaten = c < label ? logits[label] > logits[c] : logits[label] >= logits[c];
    if (!beaten) return false;
  }
  return true;
}

template <class Targets>
LossSums forward(const float* logits, const Targets& targets, std::int64_t images, float* probabilities) {
  const std::int64_t classes = targets.classes;
  return sum_images(images, classes, [&](std::int64_t n) -> LossSums {
    if (!targets.has(n) && probabilities == nullptr) return {};
    const float* const row = logits + n * classes;
    const double denominator = log_denominator(row, classes);
    for (std::int64_t c = 0; probabilities != nullptr && c < classes; ++c) {
      probabilities[n * classes + c] = static_cast<float>(std::exp(row[c] - denominator));
    }
    if (!targets.has(n)) return {};
    const auto image = targets.image(n);
    return {image.loss(row, denominator), 1, is_first_largest(row, classes, image.label) ? 1 : 0, image.weight};
  });
}

template <class Targets>
void backward(const float* probabilities, const Targets& targets, std::int64_t images, double label_weight,
              float* gradient) {
  const LossRule& rule = targets.rule;
  const std::int64_t classes = targets.classes;
  const auto scale = static_cast<float>(label_weight > 0 ? rule.weight / label_weight : 0);
  double smooth_targets = 0;
  for (std::int64_t c = 0; c < classes; ++c) smooth_targets += smooth_target(rule, c, classes);
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const float* const p = probabilities + n * classes;
      float* const g = gradient + n * classes;
      if (!targets.has(n)) {
        std::fill_n(g, classes, 0.0F);
        continue;
      }
      const auto image = targets.image(n);
      const auto sum = static_cast<float>(image.sum(smooth_targets));
      for (std::int64_t c = 0; c < classes; ++c) {
        g[c] = (sum * p[c] - static_cast<float>(image.target(c))) * scale;
      }
    }
  };
  base::parallel_for(images, image_grain(classes), std::ref(body));
}

}  // namespace

LossSums softmax_cross_entropy(const float* logits, const std::int32_t* labels, std::int64_t images,
                               std::int64_t classes, float* probabilities, const LossRule& rule) {
  return forward(logits, Labels{labels, classes, rule}, images, probabilities);
}

void softmax_cross_entropy_backward(const float* probabilities, const std::int32_t* labels, std::int64_t images,
                                    std::int64_t classes, double label_weight, float* gradient, const LossRule& rule) {
  backward(probabilities, Labels{labels, classes, rule}, images, label_weight, gradient);
}

LossSums softmax_cross_entropy(const float* logits, const float* distributions, std::int64_t images,
                               std::int64_t classes, float* probabilities, const LossRule& rule) {
  return forward(logits, Distributions{distributions, classes, rule}, images, probabilities);
}

void softmax_cross_entropy_backward(const float* probabilities, const float* distributions, std::int64_t images,
                                    std::int64_t classes, double label_weight, float* gradient, const LossRule& rule) {
  backward(probabilities, Distributions{distributions, classes, rule}, images, label_weight, gradient);
}

}  // namespace facet::kernels
