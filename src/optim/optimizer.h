#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/update.h"

namespace facet::optim {

/// The memory of one parameter that an update rule reads and writes. All arrays have their elements in the same order.
struct UpdateOperands {
  kernels::UpdateTarget target;
  std::vector<float*> slots;  ///< the rule's state, in the order of slot_names()
  bool one_dimension;         ///< the parameter is a vector: a bias or a batch norm's parameter
};

/// What changes from one step to the next.
struct UpdateFactors {
  float learning_rate;
  std::int64_t step;                    ///< from 1
  std::optional<double> momentum = {};  ///< replaces SGD's momentum, if it has one, or Adam's beta1
};

/// An update rule: how a step updates a parameter and the rule's state from the gradient. Immutable.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// Names of the state tensors of each trained parameter, as in PyTorch (exp_avg, exp_avg_sq). They are zero at the
  /// start.
  virtual std::vector<std::string> slot_names() const = 0;
  /// Returns whether all values that it wrote are finite: false if a gradient or a weight was not.
  virtual bool update(const UpdateOperands& operands, const UpdateFactors& factors) const = 0;
};

/// PyTorch's weight_decay, and the parameters that it applies to.
struct WeightDecay {
  double rate = 0;
  bool of_vectors = true;  ///< false: parameters of one dimension (biases and batch norms) don't decay

  double of(const UpdateOperands& operands) const { return operands.one_dimension && !of_vectors ? 0 : rate; }
};

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  WeightDecay weight_decay = {};
};
/// Adam (Kingma and Ba 2015) with bias correction, as in PyTorch: weight decay is a part of the gradient.
std::unique_ptr<Optimizer> adam(const AdamOptions& options = {});
/// AdamW (Loshchilov and Hutter 2019), as in PyTorch: Adam with weight decay that doesn't enter the moments.
std::unique_ptr<Optimizer> adamw(const AdamOptions& options = {});

struct SgdOptions {
  double momentum = 0;
  bool nesterov = false;
  WeightDecay weight_decay = {};
};
/// Stochastic gradient descent with momentum, Nesterov's included, as in PyTorch: weight decay is a part of the
/// gradient.
std::unique_ptr<Optimizer> sgd(const SgdOptions& options = {});

}  // namespace facet::optim
