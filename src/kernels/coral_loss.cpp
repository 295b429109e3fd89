#include <algorithm>
#include <cmath>
#include <functional>

#include "base/parallel.h"
#include "kernels/class_targets.h"
#include "kernels/image_sums.h"
#include "kernels/loss.h"
#include "kernels/sigmoid.h"

namespace facet::kernels {

namespace {

/// log(1 + exp(x)), without overflow.
double softplus(double x) { return std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x))); }

/// Writes the probability of each class: that of being c or above, less that of being above c.
void class_probabilities(const float* logits, std::int64_t classes, float* probabilities) {
  double above = 1;  // the probability that the class is c or above
  for (std::int64_t c = 0; c + 1 < classes; ++c) {
    const double next = sigmoid(logits[c]);
    probabilities[c] = static_cast<float>(above - next);
    above = next;
  }
  probabilities[classes - 1] = static_cast<float>(above);
}

/// The loss of an image. Each class c adds its target times the sum of the binary cross-entropies of [c > k]; all of
/// them together are total * softplus(logit) - above * logit for each k, where `above` is the sum of the targets of the
/// classes above k.
template <class Image>
double image_loss(const Image& image, const float* logits) {
  double total = 0;
  for (std::int64_t c = 0; c < image.classes; ++c) total += image.target(c);
  double above = 0, loss = 0;
  for (std::int64_t k = image.classes - 2; k >= 0; --k) {
    above += image.target(k + 1);
    // 0 * logit turns the loss into NaN for an infinite logit.
    loss += total * softplus(logits[k]) - above * logits[k] + 0.0 * logits[k];
  }
  return loss;
}

template <class Targets>
LossSums forward(const float* logits, const Targets& targets, std::int64_t images, float* probabilities) {
  const std::int64_t classes = targets.classes;
  return sum_images(images, classes, [&](std::int64_t n) -> LossSums {
    const float* const row = logits + n * (classes - 1);
    if (probabilities != nullptr) class_probabilities(row, classes, probabilities + n * classes);
    if (!targets.has(n)) return {};
    const auto image = targets.image(n);
    return {image_loss(image, row), 1, coral_class(row, classes) == image.label ? 1 : 0, image.weight};
  });
}

template <class Targets>
void backward(const float* logits, const Targets& targets, std::int64_t images, double label_weight, float* gradient) {
  const std::int64_t classes = targets.classes, outputs = classes - 1;
  const double scale = label_weight > 0 ? targets.rule.weight / label_weight : 0;
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const float* const x = logits + n * outputs;
      float* const g = gradient + n * outputs;
      if (!targets.has(n)) {
        std::fill_n(g, outputs, 0.0F);
        continue;
      }
      const auto image = targets.image(n);
      double total = 0;
      for (std::int64_t c = 0; c < classes; ++c) total += image.target(c);
      double above = 0;
      for (std::int64_t k = outputs - 1; k >= 0; --k) {
        above += image.target(k + 1);
        g[k] = static_cast<float>((total * sigmoid(x[k]) - above) * scale);
      }
    }
  };
  base::parallel_for(images, image_grain(classes), std::ref(body));
}

}  // namespace

std::int32_t coral_class(const float* logits, std::int64_t classes) {
  return static_cast<std::int32_t>(std::count_if(logits, logits + classes - 1, [](float logit) { return logit > 0; }));
}

LossSums coral_loss(const float* logits, const std::int32_t* labels, std::int64_t images, std::int64_t classes,
                    float* probabilities, const LossRule& rule) {
  return forward(logits, Labels{labels, classes, rule}, images, probabilities);
}

void coral_loss_backward(const float* logits, const std::int32_t* labels, std::int64_t images, std::int64_t classes,
                         double label_weight, float* gradient, const LossRule& rule) {
  backward(logits, Labels{labels, classes, rule}, images, label_weight, gradient);
}

LossSums coral_loss(const float* logits, const float* distributions, std::int64_t images, std::int64_t classes,
                    float* probabilities, const LossRule& rule) {
  return forward(logits, Distributions{distributions, classes, rule}, images, probabilities);
}

void coral_loss_backward(const float* logits, const float* distributions, std::int64_t images, std::int64_t classes,
                         double label_weight, float* gradient, const LossRule& rule) {
  backward(logits, Distributions{distributions, classes, rule}, images, label_weight, gradient);
}

}  // namespace facet::kernels
