#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/loss.h"

// The targets of losses over classes: the weight that each class has in an image's loss.

namespace facet::kernels {

inline double class_weight(const LossRule& rule, std::int64_t c) {
  return rule.class_weights.empty() ? 1 : rule.class_weights[static_cast<std::size_t>(c)];
}

/// The part of a class's target that comes from smoothing, for any label.
inline double smooth_target(const LossRule& rule, std::int64_t c, std::int64_t classes) {
  return rule.smoothing / static_cast<double>(classes) * class_weight(rule, c);
}

/// The targets of a batch whose images have labels.
struct Labels {
  const std::int32_t* labels;
  std::int64_t classes;
  const LossRule& rule;

  bool has(std::int64_t n) const { return labels[n] >= 0; }
  std::int64_t label(std::int64_t n) const { return labels[n]; }
  double weight(std::int64_t n) const { return class_weight(rule, labels[n]); }
  /// The label's own part of its class's target; smooth_target() is added for every class.
  double own(std::int64_t n) const { return (1 - rule.smoothing) * class_weight(rule, labels[n]); }

  double loss(std::int64_t n, const float* logits, double denominator) const {
    double loss = own(n) * (denominator - logits[labels[n]]);
    if (rule.smoothing == 0) return loss;
    for (std::int64_t c = 0; c < classes; ++c) loss += smooth_target(rule, c, classes) * (denominator - logits[c]);
    return loss;
  }
  double sum(std::int64_t n, double smooth_targets) const { return own(n) + smooth_targets; }
  double target(std::int64_t n, std::int64_t c) const {
    return (c == labels[n] ? own(n) : 0) + smooth_target(rule, c, classes);
  }
};

/// The targets of a batch whose images have distributions over the classes.
struct Distributions {
  const float* values;
  std::int64_t classes;
  const LossRule& rule;

  const float* row(std::int64_t n) const { return values + n * classes; }
  bool has(std::int64_t n) const { return !std::isnan(row(n)[0]); }
  std::int64_t label(std::int64_t n) const { return std::max_element(row(n), row(n) + classes) - row(n); }
  double weight(std::int64_t) const { return 1; }

  double loss(std::int64_t n, const float* logits, double denominator) const {
    double loss = 0;
    for (std::int64_t c = 0; c < classes; ++c) loss += target(n, c) * (denominator - logits[c]);
    return loss;
  }
  double sum(std::int64_t n, double smooth_targets) const {
    double sum = smooth_targets;
    for (std::int64_t c = 0; c < classes; ++c) sum += (1 - rule.smoothing) * row(n)[c] * class_weight(rule, c);
    return sum;
  }
  double target(std::int64_t n, std::int64_t c) const {
    return (1 - rule.smoothing) * row(n)[c] * class_weight(rule, c) + smooth_target(rule, c, classes);
  }
};

}  // namespace facet::kernels
