#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "base/parallel.h"
#include "kernels/kernels.h"

namespace facet::kernels {

namespace {

struct ImageLoss {
  double loss = 0;
  bool correct = false;
};

std::int64_t grain(std::int64_t classes) {
  return std::max<std::int64_t>(1, 1024 / std::max<std::int64_t>(1, classes));
}

/// max + log(sum(exp(logit - max))), the logarithm of the softmax's denominator; NaN unless all logits are finite.
double log_denominator(const float* logits, std::int64_t classes) {
  const double largest = *std::max_element(logits, logits + classes);
  double sum = 0;
  double poison = 0;  // an infinite logit must not hide behind a probability of 0
  for (std::int64_t c = 0; c < classes; ++c) {
    sum += std::exp(logits[c] - largest);
    poison += 0.0 * logits[c];
  }
  return largest + std::log(sum) + poison;
}

/// Whether the label's logit is the largest, and the first of the largest.
bool is_first_largest(const float* logits, std::int64_t classes, std::int32_t label) {
  for (std::int64_t c = 0; c < classes; ++c) {
    const bool beaten = c < label ? logits[label] > logits[c] : logits[label] >= logits[c];
    if (!beaten) return false;
  }
  return true;
}

ImageLoss image_loss(const float* logits, std::int64_t classes, std::int32_t label, float* probabilities) {
  if (label < 0 && probabilities == nullptr) return {};
  const double denominator = log_denominator(logits, classes);
  if (probabilities != nullptr) {
    for (std::int64_t c = 0; c < classes; ++c) {
      probabilities[c] = static_cast<float>(std::exp(logits[c] - denominator));
    }
  }
  if (label < 0) return {};
  return {denominator - logits[label], is_first_largest(logits, classes, label)};
}

}  // namespace

LossSums softmax_cross_entropy(const float* logits, const std::int32_t* labels, std::int64_t images,
                               std::int64_t classes, float* probabilities) {
  // Images' losses are summed in their order, whatever the threads; in blocks, so that nothing is allocated.
  constexpr std::int64_t block = 512;
  std::array<ImageLoss, block> losses;
  LossSums sums;
  for (std::int64_t first = 0; first < images; first += block) {
    const std::int64_t count = std::min(block, images - first);
    const auto body = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t n = first + i;
        float* const image_probabilities = probabilities == nullptr ? nullptr : probabilities + n * classes;
        losses[static_cast<std::size_t>(i)] = image_loss(logits + n * classes, classes, labels[n], image_probabilities);
      }
    };
    base::parallel_for(count, grain(classes), std::ref(body));
    for (std::int64_t i = 0; i < count; ++i) {
      sums.loss += losses[static_cast<std::size_t>(i)].loss;
      sums.labelled += labels[first + i] >= 0 ? 1 : 0;
      sums.correct += losses[static_cast<std::size_t>(i)].correct ? 1 : 0;
    }
  }
  return sums;
}

void softmax_cross_entropy_backward(const float* probabilities, const std::int32_t* labels, std::int64_t images,
                                    std::int64_t classes, std::int64_t labelled, float* gradient) {
  const float scale = labelled > 0 ? 1.0F / static_cast<float>(labelled) : 0.0F;
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const float* const p = probabilities + n * classes;
      float* const g = gradient + n * classes;
      if (labels[n] < 0) {
        std::fill_n(g, classes, 0.0F);
        continue;
      }
      for (std::int64_t c = 0; c < classes; ++c) g[c] = (p[c] - (c == labels[n] ? 1.0F : 0.0F)) * scale;
    }
  };
  base::parallel_for(images, grain(classes), std::ref(body));
}

}  // namespace facet::kernels
