#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "facet/dataset.h"
#include "facet/loader.h"

namespace facet {

/// Softmax regression on pixels: a baseline for what the pixels reveal without recognising shapes.
class LinearModel {
 public:
  LinearModel(int size, int classes)
      : size_(size), features_(size * size * 3 + 1), classes_(classes), weights_(count(features_ * classes)) {}

  /// Runs stochastic gradient descent with one image per step.
  void fit(const Dataset& data, std::size_t head, int epochs, float learning_rate) {
    for (int epoch = 0; epoch < epochs; ++epoch) {
      for (const std::int64_t index : epoch_order(data.size(), 0, epoch)) {
        const std::vector<float> x = input(data, index);
        std::vector<float> error = probabilities(x);
        error[count(data.labels(index)[head])] -= 1;
        for (int k = 0; k < classes_; ++k) {
          const float step = -learning_rate * error[count(k)];
          float* weights = &weights_[count(k * features_)];
          for (int i = 0; i < features_; ++i) weights[i] += step * x[count(i)];
        }
      }
    }
  }

  double accuracy(const Dataset& data, std::size_t head) const {
    std::int64_t correct = 0;
    for (std::int64_t index = 0; index < data.size(); ++index) {
      const std::vector<float> p = probabilities(input(data, index));
      correct += std::max_element(p.begin(), p.end()) - p.begin() == data.labels(index)[head] ? 1 : 0;
    }
    return static_cast<double>(correct) / static_cast<double>(data.size());
  }

 private:
  static std::size_t count(int value) { return static_cast<std::size_t>(value); }

  /// Returns the pixels in [-1, 1], and 1 for the bias.
  std::vector<float> input(const Dataset& data, std::int64_t index) const {
    std::vector<std::uint8_t> pixels(count(features_ - 1));
    data.load({.index = index, .size = size_}, pixels);
    std::vector<float> x(count(features_), 1.0F);
    std::transform(pixels.begin(), pixels.end(), x.begin(),
                   [](std::uint8_t p) { return static_cast<float>(p) / 127.5F - 1; });
    return x;
  }

  std::vector<float> probabilities(const std::vector<float>& x) const {
    std::vector<float> p(count(classes_));
    for (int k = 0; k < classes_; ++k) {
      const float* weights = &weights_[count(k * features_)];
      // Eight sums, which the compiler can vectorise.
      float sums[8] = {};
      int i = 0;
      for (; i + 8 <= features_; i += 8) {
        for (int lane = 0; lane < 8; ++lane) sums[lane] += weights[i + lane] * x[count(i + lane)];
      }
      for (; i < features_; ++i) sums[0] += weights[i] * x[count(i)];
      for (const float sum : sums) p[count(k)] += sum;
    }
    const float maximum = *std::max_element(p.begin(), p.end());
    float total = 0;
    for (float& value : p) total += value = std::exp(value - maximum);
    for (float& value : p) value /= total;
    return p;
  }

  int size_;
  int features_;
  int classes_;
  std::vector<float> weights_;
};

}  // namespace facet
