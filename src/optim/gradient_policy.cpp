#include "optim/gradient_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "facet/error.h"
#include "optim/gradients.h"

namespace facet::optim {

using lowering::Instruction;
using lowering::RunState;
using lowering::Tensor;

void StepBuilder::append(std::string name, std::string_view implementation, std::vector<Tensor> operands,
                         lowering::Kernel kernel) {
  Instruction instruction;
  instruction.name = std::move(name);
  instruction.kind = lowering::InstructionKind::update;
  instruction.implementation = fmt::format("facet:{}", implementation);
  instruction.operands = std::move(operands);
  instruction.kernel = std::move(kernel);
  append(std::move(instruction));
}

namespace {

class UpdateAtOnce final : public GradientPolicy {
 public:
  void gradient_ready(StepBuilder& step, int parameter, const Tensor& gradient) override {
    step.append(step.update(parameter, step.in_stored_order(parameter, gradient)));
  }
};

class KeepGradients final : public GradientPolicy {
 public:
  void gradient_ready(StepBuilder& step, int parameter, const Tensor& gradient) override {
    step.keep(parameter, gradient);
  }
};

/// @param squares the sum of the gradient's squares. It is known already, and while it is finite, so is every element.
void require_finite_gradient(const std::string& parameter, const float* gradient, std::int64_t count, double squares) {
  if (std::isfinite(squares) || all_finite(gradient, count)) return;
  throw Error(fmt::format("the gradient of parameter '{}' isn't finite", parameter), ErrorCode::non_finite);
}

/// Appends the sum of the squares of a gradient, for the norm.
void append_norm(StepBuilder& step, const std::string& name, const Tensor& gradient) {
  step.append(name + ".gradient_norm", "sum_of_squares", {gradient},
              [name, count = gradient.float_count()](std::span<void* const> addresses, RunState& state) {
                const auto* values = static_cast<const float*>(addresses[0]);
                const double squares = sum_of_squares(values, count);
                require_finite_gradient(name, values, count, squares);
                state.squared_norm += squares;
              });
}

/// Appends the addition of a gradient to the sum of the step's earlier batches.
void append_sum(StepBuilder& step, const std::string& name, const Tensor& gradient, const Tensor& sum) {
  step.append(name + ".gradient_sum", "accumulate", {gradient, sum},
              [name, count = gradient.float_count()](std::span<void* const> addresses, RunState& state) {
                auto* so_far = static_cast<float*>(addresses[1]);
                const double squares =
                    accumulate(static_cast<const float*>(addresses[0]), so_far, count, state.adds_gradients);
                require_finite_gradient(name, so_far, count, squares);
                state.squared_norm += squares;
              });
}

class DeferUpdates final : public GradientPolicy {
 public:
  explicit DeferUpdates(const UpdateOptions& options) : o_(options) {}

  bool stores_gradients() const override { return o_.accumulate; }
  bool accumulates() const override { return o_.accumulate; }

  void gradient_ready(StepBuilder& step, int parameter, const Tensor& gradient) override {
    const std::string& name = step.parameter(parameter).name;
    Tensor ordered = step.in_stored_order(parameter, gradient);
    if (o_.accumulate) {
      const Tensor sum = step.stored_gradient(parameter);
      append_sum(step, name, ordered, sum);
      ordered = sum;
    } else if (o_.clip_norm > 0) {
      append_norm(step, name, ordered);
    }
    step.defer(parameter, ordered);
  }

  void backward_done(StepBuilder& step) override {
    if (step.deferred().empty()) return;
    if (o_.clip_norm > 0) append_clipping(step);
    for (const auto& [parameter, gradient] : step.deferred()) step.append(step.update(parameter, gradient));
  }

 private:
  void append_clipping(StepBuilder& step) const {
    // This is the formula of PyTorch's clip_grad_norm_; its 1e-6 avoids a division by zero.
    step.append("gradients.clip", "clip", {}, [max_norm = o_.clip_norm](std::span<void* const>, RunState& state) {
      if (!state.updates) return;
      const double norm = std::sqrt(state.squared_norm) * state.gradient_scale;
      if (!std::isfinite(norm))
        throw Error(fmt::format("the gradients' norm is {}, not finite", norm), ErrorCode::non_finite);
      state.gradient_scale *= static_cast<float>(std::min(1.0, max_norm / (norm + 1e-6)));
    });
  }

  UpdateOptions o_;
};

}  // namespace

std::shared_ptr<GradientPolicy> update_policy(const UpdateOptions& options) {
  if (!options.accumulate && options.clip_norm == 0) return std::make_shared<UpdateAtOnce>();
  return std::make_shared<DeferUpdates>(options);
}

std::shared_ptr<GradientPolicy> keep_gradients() { return std::make_shared<KeepGradients>(); }

}  // namespace facet::optim
