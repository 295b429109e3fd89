#pragma once

#include <cstdint>

/// Update rules: what a step makes of one parameter, in one pass over its gradient, the rule's state and the weight.
namespace facet::kernels {

/// One parameter's memory, `count` elements each, in one order.
struct UpdateTarget {
  float* weight;
  const float* gradient;
  std::uint16_t* weight_bf16;  ///< takes the new weight rounded to bf16; may be null
  std::int64_t count;
  float gradient_scale = 1;  ///< what each gradient is multiplied by before all else
  float* average = nullptr;  ///< takes the new weight as average() below says; may be null
  double average_decay = 0;
};

/// average += (1 - decay) * (values - average): an exponential moving average. A decay of 0 copies.
void average(const float* values, float* average, std::int64_t count, double decay);

struct AdamFactors {
  double learning_rate, beta1, beta2, eps;
  std::int64_t step;        ///< from 1
  double weight_decay = 0;  ///< coupled: g = gradient + weight_decay * weight goes into the moments
  bool decoupled = false;   ///< instead: weight -= learning_rate * weight_decay * weight, before the rest
};
/// One Adam step (Kingma and Ba 2015, with bias correction; PyTorch's Adam: eps is added after the corrected root): m =
/// beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; weight -= learning_rate / (1 - beta1^step) * m / (sqrt(v /
/// (1 - beta2^step)) + eps). With decoupled weight decay AdamW (Loshchilov and Hutter 2019; PyTorch's AdamW).
/// Returns whether all that it wrote is finite: false where a gradient or a weight was not.
bool adam(const UpdateTarget& target, float* m, float* v, const AdamFactors& factors);

struct SgdFactors {
  double learning_rate, momentum;
  bool nesterov = false;
  double weight_decay = 0;  ///< g = gradient + weight_decay * weight
};
/// One step of stochastic gradient descent with momentum (Sutskever et al. 2013, as PyTorch's SGD without dampening has
/// it): buffer = momentum buffer + g; weight -= learning_rate * (nesterov ? g + momentum buffer : buffer).
/// @param buffer zero before the first step; null without momentum: weight -= learning_rate * g.
/// Returns whether all that it wrote is finite, as adam does.
bool sgd(const UpdateTarget& target, float* buffer, const SgdFactors& factors);

}  // namespace facet::kernels
