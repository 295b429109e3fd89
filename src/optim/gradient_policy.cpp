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

namespace {

Instruction make_instruction(std::string name, lowering::InstructionKind kind, std::string_view implementation,
                             std::vector<Tensor> operands, lowering::Kernel kernel) {
  Instruction instruction;
  instruction.name = std::move(name);
  instruction.kind = kind;
  instruction.implementation = fmt::format("facet:{}", implementation);
  instruction.operands = std::move(operands);
  instruction.kernel = std::move(kernel);
  return instruction;
}

}  // namespace

void StepBuilder::append(std::string name, std::string_view implementation, std::vector<Tensor> operands,
                         lowering::Kernel kernel) {
  append(make_instruction(std::move(name), lowering::InstructionKind::update, implementation, std::move(operands),
                          std::move(kernel)));
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

/// Appends the sum of the squares of a step's gradient, for the norm.
void append_norm(StepBuilder& step, const std::string& name, const Tensor& gradient) {
  step.append(name + ".gradient_norm", "sum_of_squares", {gradient},
              [name, count = gradient.float_count()](std::span<void* const> addresses, RunState& state) {
                if (!state.updates) return;
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

void append_clipping(StepBuilder& step, double max_norm) {
  // This is the formula of PyTorch's clip_grad_norm_; its 1e-6 avoids a division by zero.
  step.append("gradients.clip", "clip", {}, [max_norm](std::span<void* const>, RunState& state) {
    if (!state.updates) return;
    const double norm = std::sqrt(state.squared_norm) * state.gradient_scale;
    if (!std::isfinite(norm))
      throw Error(fmt::format("the gradients' norm is {}, not finite", norm), ErrorCode::non_finite);
    state.gradient_scale *= static_cast<float>(std::min(1.0, max_norm / (norm + 1e-6)));
  });
}

/// Appends the updates from deferred gradients.
/// @param clip_norm 0: the gradients aren't clipped.
void append_updates(StepBuilder& step, double clip_norm) {
  if (clip_norm > 0) append_clipping(step, clip_norm);
  for (const auto& [parameter, gradient] : step.deferred()) step.append(step.update(parameter, gradient));
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
    if (!step.deferred().empty()) append_updates(step, o_.clip_norm);
  }

 private:
  UpdateOptions o_;
};

/// Gathers each process's gradients in the store, and sums them over the processes when the step ends. What follows
/// reads the sums alone, so that it does, or throws, the same in all processes.
class ReduceGradients final : public GradientPolicy {
 public:
  ReduceGradients(comm::Communicator& communicator, const UpdateOptions& options)
      : communicator_(communicator), o_(options) {}

  bool stores_gradients() const override { return true; }
  bool accumulates() const override { return o_.accumulate; }

  void gradient_ready(StepBuilder& step, int parameter, const Tensor& gradient) override {
    const Tensor ordered = step.in_stored_order(parameter, gradient);
    const Tensor sum = step.stored_gradient(parameter);
    // Not an update: a process without images has no gradient to add.
    step.append(make_instruction(step.parameter(parameter).name + ".gradient_sum",
                                 lowering::InstructionKind::communication, "accumulate", {ordered, sum},
                                 [count = sum.float_count()](std::span<void* const> addresses, RunState& state) {
                                   accumulate(static_cast<const float*>(addresses[0]),
                                              static_cast<float*>(addresses[1]), count, state.adds_gradients);
                                 }));
    step.defer(parameter, sum);
  }

  void backward_done(StepBuilder& step) override {
    if (step.deferred().empty()) return;
    append_reduction(step);
    if (o_.accumulate || o_.clip_norm > 0) {
      for (const auto& [parameter, gradient] : step.deferred()) {
        append_norm(step, step.parameter(parameter).name, gradient);
      }
    }
    append_updates(step, o_.clip_norm);
  }

 private:
  void append_reduction(StepBuilder& step) const {
    const auto [first, last] = std::ranges::minmax_element(
        step.deferred(), [&](const auto& a, const auto& b) { return step.is_stored_before(a.first, b.first); });
    const Tensor all = step.stored_gradients(first->first, last->first);
    Instruction reduction =
        make_instruction("gradients.reduce", lowering::InstructionKind::communication, "sum_over_ranks", {all},
                         [&communicator = communicator_, count = static_cast<std::size_t>(all.float_count())](
                             std::span<void* const> addresses, RunState& state) {
                           const std::span<float> gradients(static_cast<float*>(addresses[0]), count);
                           if (state.images == 0 && !state.adds_gradients) std::ranges::fill(gradients, 0.0F);
                           if (!state.updates) return;
                           communicator.agree(state.failure);
                           communicator.sum(gradients);
                         });
    reduction.is_collective = true;
    step.append(std::move(reduction));
  }

  comm::Communicator& communicator_;
  UpdateOptions o_;
};

}  // namespace

std::shared_ptr<GradientPolicy> update_policy(const UpdateOptions& options) {
  if (!options.accumulate && options.clip_norm == 0) return std::make_shared<UpdateAtOnce>();
  return std::make_shared<DeferUpdates>(options);
}

std::shared_ptr<GradientPolicy> reduce_policy(comm::Communicator& communicator, const UpdateOptions& options) {
  if (communicator.is_alone()) return update_policy(options);
  return std::make_shared<ReduceGradients>(communicator, options);
}

std::shared_ptr<GradientPolicy> keep_gradients() { return std::make_shared<KeepGradients>(); }

}  // namespace facet::optim
