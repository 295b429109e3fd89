#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "facet/graph.h"

namespace facet::optim {

/// The options of an update rule that differ between parameters (PyTorch: param_groups).
struct ParameterGroup {
  double learning_rate_factor = 1;  ///< multiplies UpdateFactors::learning_rate
  double weight_decay = 0;
  bool has_trust_ratio = true;  ///< LARS and LAMB scale the step by the ratio of two norms
};

/// How the group of each parameter is determined.
struct ParameterGroups {
  double weight_decay = 0;
  /// False: parameters of one dimension (biases and batch norms) have no weight decay, and LARS and LAMB apply no trust
  /// ratio to them.
  bool decays_vectors = true;
  /// If a weight's fan-in (the number of inputs of each of its outputs) exceeds this, its learning rate is multiplied by
  /// max_fan_in / fan-in (Yang et al. 2022, "Tensor Programs V", table 3, for Adam). 0: no rate is changed.
  double max_fan_in = 0;

  ParameterGroup of(const Parameter& parameter) const {
    const Shape& shape = parameter.shape;  // {outputs, inputs, ...}
    double fan_in = 1;
    for (std::size_t i = 1; i < shape.size(); ++i) fan_in *= static_cast<double>(shape[i]);
    const bool excluded = shape.size() == 1 && !decays_vectors;
    return {.learning_rate_factor = max_fan_in > 0 && fan_in > max_fan_in ? max_fan_in / fan_in : 1,
            .weight_decay = excluded ? 0 : weight_decay,
            .has_trust_ratio = !excluded};
  }
};

/// One parameter, or a contiguous part of one, as an update rule sees it. All arrays have `count` elements in the same
/// order, which need not be PyTorch's.
struct UpdateOperands {
  float* weight = nullptr;
  const float* gradient = nullptr;
  std::uint16_t* weight_bf16 = nullptr;  ///< receives the new weight, rounded to bf16; may be null
  std::vector<float*> slots = {};        ///< the rule's state, in the order of slot_names()
  std::int64_t count = 0;
  float gradient_scale = 1;  ///< factor by which each gradient is multiplied first
  float* average = nullptr;  ///< updated with the new weight as by average(); may be null
  double average_decay = 0;
  Shape shape = {};  ///< of the whole parameter, in PyTorch's order
  ParameterGroup group = {};
};

/// What changes from one step to the next.
struct UpdateFactors {
  float learning_rate;
  std::int64_t step;                    ///< from 1
  std::optional<double> momentum = {};  ///< replaces SGD's and LARS's momentum, if they have one, or the others' beta1
};

/// An update rule: how a step updates a parameter and the rule's state from the gradient. Immutable. A rule that needs
/// sums over a whole parameter (its norm) works in two passes: sum() computes them, update() uses them. The two may be
/// called for parts of a parameter, with the parts' sums added in between.
class Optimizer {
 public:
  explicit Optimizer(const ParameterGroups& groups) : groups_(groups) {}
  virtual ~Optimizer() = default;

  /// Names of the state tensors of each trained parameter, as in PyTorch (exp_avg, exp_avg_sq). They are zero at the
  /// start.
  virtual std::vector<std::string> slot_names() const = 0;
  /// The number of sums that update() needs, at most 2; 0: one pass.
  virtual std::size_t sum_count() const { return 0; }
  /// The first pass: adds to the sums. It may write the slots, and so is called once a step for each part. The sums
  /// have the same bits for any parts that begin at multiples of block_elements.
  virtual void sum(const UpdateOperands&, const UpdateFactors&, std::span<double>) const {}
  /// The second, or the only, pass. Returns whether all values that the step wrote are finite: false if a gradient or a
  /// weight was not.
  virtual bool update(const UpdateOperands& operands, const UpdateFactors& factors,
                      std::span<const double> sums) const = 0;

  /// Both passes over a whole parameter.
  bool step(const UpdateOperands& operands, const UpdateFactors& factors) const {
    double sums[2] = {};
    const std::span<double> used(sums, sum_count());
    if (!used.empty()) sum(operands, factors, used);
    return update(operands, factors, used);
  }

  ParameterGroup group_of(const Parameter& parameter) const { return groups_.of(parameter); }

 protected:
  static double rate_of(const UpdateOperands& operands, const UpdateFactors& factors) {
    return factors.learning_rate * operands.group.learning_rate_factor;
  }

 private:
  ParameterGroups groups_;
};

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  ParameterGroups groups = {};
};
/// Adam (Kingma and Ba 2015, with bias correction), as in PyTorch: g = gradient + weight_decay * weight;
/// m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
/// weight -= learning_rate / (1 - beta1^step) * m / (sqrt(v / (1 - beta2^step)) + eps).
std::unique_ptr<Optimizer> adam(const AdamOptions& options = {});
/// AdamW (Loshchilov and Hutter 2019), as in PyTorch: Adam with g = gradient; weight -= learning_rate * weight_decay *
/// weight comes first.
std::unique_ptr<Optimizer> adamw(const AdamOptions& options = {});
/// LAMB (You et al. 2020, "Large Batch Optimization for Deep Learning", algorithm 2, with phi(x) = x): m and v as
/// AdamW's; r = m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps) + weight_decay * weight;
/// weight -= learning_rate * |weight| / |r| * r, with Euclidean norms over the parameter. Where a norm is 0, the ratio
/// is 1.
std::unique_ptr<Optimizer> lamb(const AdamOptions& options = {});

struct SgdOptions {
  double momentum = 0;
  bool nesterov = false;
  ParameterGroups groups = {};
};
/// Stochastic gradient descent with momentum (Sutskever et al. 2013), as PyTorch's SGD without dampening:
/// g = gradient + weight_decay * weight; buffer = momentum * buffer + g;
/// weight -= learning_rate * (nesterov ? g + momentum * buffer : buffer). Without momentum there is no buffer:
/// weight -= learning_rate * g.
std::unique_ptr<Optimizer> sgd(const SgdOptions& options = {});

struct LarsOptions {
  double momentum = 0.9;
  double trust_coefficient = 0.001;
  ParameterGroups groups = {};
};
/// LARS (You et al. 2017, "Large Batch Training of Convolutional Networks", algorithm 1): ratio = trust_coefficient *
/// |weight| / (|gradient| + weight_decay * |weight|), with Euclidean norms over the parameter;
/// buffer = momentum * buffer + learning_rate * ratio * (gradient + weight_decay * weight); weight -= buffer. Where a
/// norm is 0, the ratio is 1.
std::unique_ptr<Optimizer> lars(const LarsOptions& options = {});

}  // namespace facet::optim
