#include "kernels/loss.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "base/parallel.h"

namespace facet::kernels {

namespace {

struct ImageLoss {
  double loss = 0;
  bool correct = false;
};

std::int64_t grain(std::int64_t classes) {
  return std::max<std::int64_t>(1, 1024 / std::max<std::int64_t>(1, classes));
}

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
bool is_first_largest(const float* logits, std::int64_t classes, std::int32_t label) {
  for (std::int64_t c = 0; c < classes; ++c) {
    const bool beaten = c < label ? logits[label] > logits[c] : logits[label] >= logits[c];
    if (!beaten) return false;
  }
  return true;
}

double class_weight(const LossRule& rule, std::int64_t c) {
  return rule.class_weights.empty() ? 1 : rule.class_weights[static_cast<std::size_t>(c)];
}

/// The label's own part of its class's target; smooth_target() is added for every class.
double label_target(const LossRule& rule, std::int32_t label) {
  return (1 - rule.smoothing) * class_weight(rule, label);
}

/// The part of a class's target that comes from smoothing, for any label.
double smooth_target(const LossRule& rule, std::int64_t c, std::int64_t classes) {
  return rule.smoothing / static_cast<double>(classes) * class_weight(rule, c);
}

double label_loss(const float* logits, std::int64_t classes, std::int32_t label, double denominator,
                  const LossRule& rule) {
  double loss = label_target(rule, label) * (denominator - logits[label]);
  if (rule.smoothing == 0) return loss;
  for (std::int64_t c = 0; c < classes; ++c) loss += smooth_target(rule, c, classes) * (denominator - logits[c]);
  return loss;
}

ImageLoss image_loss(const float* logits, std::int64_t classes, std::int32_t label, float* probabilities,
                     const LossRule& rule) {
  if (label < 0 && probabilities == nullptr) return {};
  const double denominator = log_denominator(logits, classes);
  if (probabilities != nullptr) {
    for (std::int64_t c = 0; c < classes; ++c) {
      probabilities[c] = static_cast<float>(std::exp(logits[c] - denominator));
    }
  }
  if (label < 0) return {};
  return {label_loss(logits, classes, label, denominator, rule), is_first_largest(logits, classes, label)};
}

}  // namespace

LossSums softmax_cross_entropy(const float* logits, const std::int32_t* labels, std::int64_t images,
                               std::int64_t classes, float* probabilities, const LossRule& rule) {
  // The losses are summed in the order of the images, for any number of threads, and in blocks, so that nothing is
  // allocated.
  constexpr std::int64_t block = 512;
  std::array<ImageLoss, block> losses;
  LossSums sums;
  for (std::int64_t first = 0; first < images; first += block) {
    const std::int64_t count = std::min(block, images - first);
    const auto body = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t n = first + i;
        float* const image_probabilities = probabilities == nullptr ? nullptr : probabilities + n * classes;
        losses[static_cast<std::size_t>(i)] =
            image_loss(logits + n * classes, classes, labels[n], image_probabilities, rule);
      }
    };
    base::parallel_for(count, grain(classes), std::ref(body));
    for (std::int64_t i = 0; i < count; ++i) {
      sums.loss += losses[static_cast<std::size_t>(i)].loss;
      if (labels[first + i] < 0) continue;
      ++sums.labelled;
      sums.weight += class_weight(rule, labels[first + i]);
      sums.correct += losses[static_cast<std::size_t>(i)].correct ? 1 : 0;
    }
  }
  return sums;
}

void softmax_cross_entropy_backward(const float* probabilities, const std::int32_t* labels, std::int64_t images,
                                    std::int64_t classes, double label_weight, float* gradient, const LossRule& rule) {
  const auto scale = static_cast<float>(label_weight > 0 ? rule.weight / label_weight : 0);
  double smooth_targets = 0;
  for (std::int64_t c = 0; c < classes; ++c) smooth_targets += smooth_target(rule, c, classes);
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const float* const p = probabilities + n * classes;
      float* const g = gradient + n * classes;
      if (labels[n] < 0) {
        std::fill_n(g, classes, 0.0F);
        continue;
      }
      const double own = label_target(rule, labels[n]);
      const auto targets = static_cast<float>(own + smooth_targets);
      for (std::int64_t c = 0; c < classes; ++c) {
        const double target = (c == labels[n] ? own : 0) + smooth_target(rule, c, classes);
        g[c] = (targets * p[c] - static_cast<float>(target)) * scale;
      }
    }
  };
  base::parallel_for(images, grain(classes), std::ref(body));
}

}  // namespace facet::kernels
