#pragma once

#include <cstdint>

/// Kernels on gradients, and the update rules: a rule updates one parameter in one pass over its gradient, the rule's
/// state and the weight.
namespace facet::kernels {

/// Sum of squares; it has the same bits for any number of threads.
double sum_of_squares(const float* values, std::int64_t count);

/// sum = gradient, or sum += gradient if `add`. Returns the sum of squares of `sum`, computed in the same pass as
/// sum_of_squares computes it.
double accumulate(const float* gradient, float* sum, std::int64_t count, bool add);

/// Whether all values are finite.
bool all_finite(const float* values, std::int64_t count);

/// The memory of one parameter: arrays of `count` elements each, in the same order.
struct UpdateTarget {
  float* weight;
  const float* gradient;
  std::uint16_t* weight_bf16;  ///< receives the new weight, rounded to bf16; may be null
  std::int64_t count;
  float gradient_scale = 1;  ///< factor by which each gradient is multiplied first
  float* average = nullptr;  ///< updated with the new weight as by average(); may be null
  double average_decay = 0;
};

/// average += (1 - decay) * (values - average): an exponential moving average. A decay of 0 copies.
void average(const float* values, float* average, std::int64_t count, double decay);

struct AdamFactors {
  double learning_rate, beta1, beta2, eps;
  std::int64_t step;        ///< from 1
  double weight_decay = 0;  ///< coupled: g = gradient + weight_decay * weight enters the moments
  bool decoupled = false;   ///< weight -= learning_rate * weight_decay * weight first, instead of the coupled decay
};
/// One Adam step (Kingma and Ba 2015, with bias correction; as in PyTorch's Adam, eps is added after the corrected
/// root): m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; weight -= learning_rate / (1 - beta1^step) * m /
/// (sqrt(v / (1 - beta2^step)) + eps). With decoupled weight decay it is AdamW (Loshchilov and Hutter 2019; PyTorch's
/// AdamW).
/// Returns whether all values that it wrote are finite: false if a gradient or a weight was not.
bool adam(const UpdateTarget& target, float* m, float* v, const AdamFactors& factors);

struct SgdFactors {
  double learning_rate, momentum;
  bool nesterov = false;
  double weight_decay = 0;  ///< g = gradient + weight_decay * weight
};
/// One step of stochastic gradient descent with momentum (Sutskever et al. 2013, as PyTorch's SGD without dampening):
/// buffer = momentum * buffer + g; weight -= learning_rate * (nesterov ? g + momentum * buffer : buffer).
/// @param buffer zero before the first step; null without momentum, where weight -= learning_rate * g.
/// Returns whether all values that it wrote are finite, as adam does.
bool sgd(const UpdateTarget& target, float* buffer, const SgdFactors& factors);

}  // namespace facet::kernels
