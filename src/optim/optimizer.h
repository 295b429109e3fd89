#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace facet::optim {

/// What an update rule writes, for `count` elements of one parameter. All lie in the same order.
struct UpdateOperands {
  float* weight;
  const float* gradient;
  std::vector<float*> slots;   ///< the rule's state, in the order of slot_names()
  std::uint16_t* weight_bf16;  ///< takes the new weight rounded to bf16; may be null
  std::int64_t count;
};

/// What changes from step to step.
struct UpdateFactors {
  float learning_rate;
  std::int64_t step;  ///< from 1
};

/// An update rule: what a step makes of a parameter, its gradient and the rule's state. Immutable.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// Tensors of state that each trainable parameter has, zero at the start: PyTorch's names (exp_avg, exp_avg_sq).
  virtual std::vector<std::string> slot_names() const = 0;
  virtual void update(const UpdateOperands& operands, const UpdateFactors& factors) const = 0;
};

/// Adam (Kingma and Ba 2015) with bias correction, as PyTorch's.
struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
};
std::unique_ptr<Optimizer> adam(const AdamOptions& options = {});

}  // namespace facet::optim
