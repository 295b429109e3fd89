#include <cmath>
#include <functional>

#include "base/parallel.h"
#include "kernels/image_sums.h"
#include "kernels/loss.h"
#include "kernels/sigmoid.h"

// The losses whose targets are one value for each output: binary cross-entropy and the squared error.

namespace facet::kernels {

namespace {

/// -t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)), without overflow.
double cross_entropy(double x, double t) { return std::fmax(x, 0) - x * t + std::log1p(std::exp(-std::fabs(x))); }

/// Whether both are on the same side of 0.5.
bool agree(float probability, float target) { return (probability >= 0.5F) == (target >= 0.5F); }

/// Adds up one image, except for what is correct; `output_loss(x, t)` is the loss of an output of value x with target
/// t.
template <class Loss>
LossSums image_sums(const float* values, const float* targets, std::int64_t outputs, const Loss& output_loss) {
  LossSums sums;
  double poison = 0;  // turns the loss into NaN for a non-finite value, whose target may be missing
  for (std::int64_t c = 0; c < outputs; ++c) {
    poison += 0.0 * values[c];
    if (std::isnan(targets[c])) continue;
    sums.loss += output_loss(values[c], targets[c]);
    ++sums.labelled;
  }
  if (sums.labelled > 0) sums.loss += poison;
  sums.weight = static_cast<double>(sums.labelled);
  return sums;
}

/// gradient = factor * (values - targets) / present; 0 where there is no target.
void scaled_difference(const float* values, const float* targets, std::int64_t images, std::int64_t outputs,
                       double factor, double present, float* gradient) {
  const double scale = present > 0 ? factor / present : 0;
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * outputs; i < end * outputs; ++i) {
      const bool missing = targets == nullptr || std::isnan(targets[i]);
      gradient[i] = missing ? 0 : static_cast<float>((static_cast<double>(values[i]) - targets[i]) * scale);
    }
  };
  base::parallel_for(images, image_grain(outputs), std::ref(body));
}

}  // namespace

LossSums binary_cross_entropy(const float* logits, const float* targets, std::int64_t images, std::int64_t outputs,
                              float* probabilities) {
  return sum_images(images, outputs, [&](std::int64_t n) -> LossSums {
    const float* const row = logits + n * outputs;
    const float* const row_targets = targets != nullptr ? targets + n * outputs : nullptr;
    LossSums sums;
    if (row_targets != nullptr) sums = image_sums(row, row_targets, outputs, cross_entropy);
    for (std::int64_t c = 0; c < outputs; ++c) {
      const auto probability = static_cast<float>(sigmoid(row[c]));
      if (probabilities != nullptr) probabilities[n * outputs + c] = probability;
      if (row_targets == nullptr || std::isnan(row_targets[c])) continue;
      sums.correct += agree(probability, row_targets[c]) ? 1 : 0;
    }
    return sums;
  });
}

void binary_cross_entropy_backward(const float* probabilities, const float* targets, std::int64_t images,
                                   std::int64_t outputs, double present, float* gradient, const LossRule& rule) {
  scaled_difference(probabilities, targets, images, outputs, rule.weight, present, gradient);
}

LossSums mean_squared_error(const float* values, const float* targets, std::int64_t images, std::int64_t outputs) {
  if (targets == nullptr) return {};
  return sum_images(images, outputs, [&](std::int64_t n) {
    return image_sums(values + n * outputs, targets + n * outputs, outputs,
                      [](double x, double t) { return (x - t) * (x - t); });
  });
}

void mean_squared_error_backward(const float* values, const float* targets, std::int64_t images, std::int64_t outputs,
                                 double present, float* gradient, const LossRule& rule) {
  scaled_difference(values, targets, images, outputs, 2 * rule.weight, present, gradient);
}

}  // namespace facet::kernels
