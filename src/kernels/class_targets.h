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

  struct Image {
    std::int64_t label;
    std::int64_t classes;
    const LossRule& rule;
    double weight;  ///< in the mean's denominator
    double own;     ///< the label's own part of its class's target; smooth_target() is added for every class

    double loss(const float* logits, double denominator) const {
      double loss = own * (denominator - logits[label]);
      if (rule.smoothing == 0) return loss;
      for (std::int64_t c = 0; c < classes; ++c) loss += smooth_target(rule, c, classes) * (denominator - logits[c]);
      return loss;
    }
    /// The sum of all classes' targets. @param smooth_targets that of smooth_target().
    double sum(double smooth_targets) const { return own + smooth_targets; }
    double target(std::int64_t c) const { return (c == label ? own : 0) + smooth_target(rule, c, classes); }
  };
  Image image(std::int64_t n) const {
    const double weight = class_weight(rule, labels[n]);
    return {labels[n], classes, rule, weight, (1 - rule.smoothing) * weight};
  }
};

/// The targets of a batch whose images have distributions over the classes.
struct Distributions {
  const float* values;
  std::int64_t classes;
  const LossRule& rule;

  const float* row(std::int64_t n) const { return values + n * classes; }
  bool has(std::int64_t n) const { return !std::isnan(row(n)[0]); }

  struct Image {
    const float* row;
    std::int64_t label;
    std::int64_t classes;
    const LossRule& rule;
    double weight;       ///< in the mean's denominator
    double smooth_part;  ///< what smooth_target() is multiplied by

    double loss(const float* logits, double denominator) const {
      double loss = 0;
      for (std::int64_t c = 0; c < classes; ++c) loss += target(c) * (denominator - logits[c]);
      return loss;
    }
    double sum(double smooth_targets) const {
      double sum = smooth_part * smooth_targets;
      for (std::int64_t c = 0; c < classes; ++c) sum += (1 - rule.smoothing) * row[c] * class_weight(rule, c);
      return sum;
    }
    double target(std::int64_t c) const {
      return (1 - rule.smoothing) * row[c] * class_weight(rule, c) + smooth_part * smooth_target(rule, c, classes);
    }
  };
  Image image(std::int64_t n) const {
    const float* const q = row(n);
    Image image{q, std::max_element(q, q + classes) - q, classes, rule, 1, 1};
    if (!rule.mixes_labels) return image;
    image.weight = image.smooth_part = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      image.weight += q[c] * class_weight(rule, c);
      image.smooth_part += q[c];
    }
    return image;
  }
};

}  // namespace facet::kernels
