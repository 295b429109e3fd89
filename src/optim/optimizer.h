#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/update.h"

namespace facet::optim {

/// What an update rule writes of one parameter. All lie in the same order.
struct UpdateOperands {
  kernels::UpdateTarget target;
  std::vector<float*> slots;  ///< the rule's state, in the order of slot_names()
  bool one_dimension;         ///< the parameter is a vector: a bias, or a batch norm's
};

/// What changes from step to step.
struct UpdateFactors {
  float learning_rate;
  std::int64_t step;                    ///< from 1
  std::optional<double> momentum = {};  ///< instead of the rule's own: SGD's, where it has one, or Adam's beta1
};

/// An update rule: what a step makes of a parameter, its gradient and the rule's state. Immutable.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// Tensors of state that each parameter that is trained has, zero at the start: PyTorch's names (exp_avg,
  /// exp_avg_sq).
  virtual std::vector<std::string> slot_names() const = 0;
  /// Returns whether all that it wrote is finite: false where a gradient or a weight was not.
  virtual bool update(const UpdateOperands& operands, const UpdateFactors& factors) const = 0;
};

/// PyTorch's weight_decay, and which parameters it shrinks.
struct WeightDecay {
  double rate = 0;
  bool of_vectors = true;  ///< false: parameters of one dimension (biases and batch norms) are spared

  double of(const UpdateOperands& operands) const { return operands.one_dimension && !of_vectors ? 0 : rate; }
};

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  WeightDecay weight_decay = {};
};
/// Adam (Kingma and Ba 2015) with bias correction, as PyTorch's: weight decay is a part of the gradient.
std::unique_ptr<Optimizer> adam(const AdamOptions& options = {});
/// AdamW (Loshchilov and Hutter 2019), as PyTorch's: Adam, with a weight decay that the moments don't see.
std::unique_ptr<Optimizer> adamw(const AdamOptions& options = {});

struct SgdOptions {
  double momentum = 0;
  bool nesterov = false;
  WeightDecay weight_decay = {};
};
/// Stochastic gradient descent with momentum, as PyTorch's (Nesterov's too): weight decay is a part of the gradient.
std::unique_ptr<Optimizer> sgd(const SgdOptions& options = {});

}  // namespace facet::optim
