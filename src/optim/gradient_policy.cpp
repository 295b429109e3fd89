#include "optim/gradient_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

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

/// Appends the sum of the squares of some elements of a step's gradient, for the norm.
void append_norm(StepBuilder& step, const std::string& name, const Tensor& gradient, const comm::Part& elements) {
  step.append(name + ".gradient_norm", "sum_of_squares", {gradient},
              [name, elements](std::span<void* const> addresses, RunState& state) {
                if (!state.updates) return;
                const auto* const values = static_cast<const float*>(addresses[0]) + elements.begin;
                const auto count = static_cast<std::int64_t>(elements.count);
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
      append_norm(step, name, ordered, {0, static_cast<std::size_t>(ordered.float_count())});
    }
    step.defer(parameter, ordered);
  }

  void backward_done(StepBuilder& step) override {
    if (!step.deferred().empty()) append_updates(step, o_.clip_norm);
  }

 private:
  UpdateOptions o_;
};

/// See reduce_policy().
class ReduceGradients final : public GradientPolicy {
 public:
  ReduceGradients(comm::Communicator& communicator, const UpdateOptions& options)
      : communicator_(communicator), o_(options) {}

  bool stores_gradients() const override { return true; }
  bool accumulates() const override { return o_.accumulate; }
  comm::BucketExchange* exchange() override { return exchange_ ? &*exchange_ : nullptr; }

  void begin(StepBuilder& step) override {
    if (!exchange_) make_buckets(step);
    missing_ = members_;
    next_ = 0;
  }

  void before_read(StepBuilder& step, int parameter) override {
    step.append(make_instruction(step.parameter(parameter).name + ".gather", lowering::InstructionKind::communication,
                                 "finish_gather", {},
                                 [this, bucket = bucket_of_.at(parameter)](std::span<void* const>, RunState&) {
                                   exchange_->finish_gather(bucket);
                                 }));
  }

  void gradient_ready(StepBuilder& step, int parameter, const Tensor& gradient) override {
    const Tensor stored = step.stored_gradient(parameter);
    if (o_.accumulate || !step.compute_in_store(parameter, gradient)) {
      // Not an update: a process without images has no gradient to add.
      step.append(make_instruction(step.parameter(parameter).name + ".gradient_sum",
                                   lowering::InstructionKind::elementwise, "accumulate",
                                   {step.in_stored_order(parameter, gradient), stored},
                                   [count = stored.float_count()](std::span<void* const> addresses, RunState& state) {
                                     accumulate(static_cast<const float*>(addresses[0]),
                                                static_cast<float*>(addresses[1]), count, state.adds_gradients);
                                   }));
    }
    step.defer(parameter, stored);
    --missing_[bucket_of_.at(parameter)];
    // All processes start the buckets in the same order, also where their programs compute gradients in another one.
    while (next_ < missing_.size() && missing_[next_] == 0) append_start(step, next_++);
  }

  void backward_done(StepBuilder& step) override {
    while (next_ < missing_.size()) append_start(step, next_++);
    append_collective(step, "gradients.agree", "agree",
                      [&communicator = communicator_](std::span<void* const>, RunState& state) {
                        if (state.updates) communicator.agree(state.failure);
                      });
    if (o_.accumulate || o_.clip_norm > 0 || step.sum_count() > 0) {
      append_updates_after_all(step);
    } else {
      for (std::size_t bucket = 0; bucket < missing_.size(); ++bucket) {
        append_finish(step, bucket);
        for_own_parts(step, [&](int parameter, const Tensor& gradient, const comm::Part& elements) {
          if (bucket_of_.at(parameter) == bucket) step.append(step.update(parameter, gradient, elements, {}));
        });
      }
    }
    for (const auto& [parameter, gradient] : step.deferred()) step.writes(parameter);  // by other processes, too
    append_collective(step, "weights.gather", "start_gather", [this](std::span<void* const>, RunState& state) {
      if (!state.updates) return;
      // In the order of forward, which reads first what backward has computed last.
      for (std::size_t bucket = members_.size(); bucket-- > 0;) exchange_->start_gather(bucket);
    });
  }

  void wait() override {
    if (!exchange_) return;
    for (std::size_t bucket = 0; bucket < members_.size(); ++bucket) exchange_->finish_gather(bucket, false);
  }

  void abandon() override {
    if (exchange_) exchange_->abandon_reduces();
  }

 private:
  /// Divides the trained parameters into buckets of some MiB.
  void make_buckets(const StepBuilder& step) {
    constexpr std::size_t least = std::size_t{1} << 20;  // elements, unless it is the last one
    std::vector<comm::Part> buckets;
    std::vector<int> members;
    for (const StoredPart& stored : step.stored_parts()) {
      if (buckets.empty() || buckets.back().count >= least) {
        buckets.push_back({stored.elements.begin, 0});
        members.push_back(0);
      }
      buckets.back().count = stored.elements.end() - buckets.back().begin;
      bucket_of_[stored.parameter] = buckets.size() - 1;
      ++members.back();
    }
    members_ = members;
    exchange_.emplace(communicator_, std::move(buckets), step.gradient_range(), exchanged_values(step),
                      comm::BucketExchange::Options{.reduces_bf16 = o_.reduces_bf16});
  }

  static comm::ExchangedValues exchanged_values(const StepBuilder& step) {
    comm::ExchangedValues exchanged{.values = step.value_range(), .rounded = &step.bf16_range()};
    bool is_rounded = false;  // what is before this parameter
    for (const StoredPart& stored : step.stored_parts()) {
      // A rounded part takes in the gap behind its parameter, which would be a piece of f32 zeros otherwise. The gap
      // behind the copy has as many elements or more, which are zeros too.
      std::vector<comm::RoundedPart>& parts = exchanged.rounded_parts;
      if (is_rounded) parts.back().elements.count = stored.elements.begin - parts.back().elements.begin;
      is_rounded = stored.bf16_begin.has_value();
      if (is_rounded) parts.push_back({.elements = stored.elements, .begin = *stored.bf16_begin});
    }
    return exchanged;
  }

  static void append_collective(StepBuilder& step, std::string name, std::string_view implementation,
                                lowering::Kernel kernel, std::vector<Tensor> operands = {}) {
    Instruction instruction = make_instruction(std::move(name), lowering::InstructionKind::communication,
                                               implementation, std::move(operands), std::move(kernel));
    instruction.is_collective = true;
    step.append(std::move(instruction));
  }

  void append_start(StepBuilder& step, std::size_t bucket) {
    append_collective(step, fmt::format("gradients.{}.start", bucket), "start_reduce",
                      [this, bucket](std::span<void* const>, RunState& state) {
                        exchange_->finish_gather(bucket);  // where this process hasn't read the weights
                        if (state.images == 0 && !state.adds_gradients) {
                          const comm::Part& part = exchange_->buckets()[bucket];
                          std::fill_n(exchange_->gradients() + part.begin, part.count, 0.0F);
                        }
                        if (state.updates) exchange_->start_reduce(bucket);
                      });
  }

  void append_finish(StepBuilder& step, std::size_t bucket) {
    append_collective(step, fmt::format("gradients.{}.reduce", bucket), "finish_reduce",
                      [this, bucket](std::span<void* const>, RunState& state) {
                        if (state.updates) exchange_->finish_reduce(bucket);
                      });
  }

  /// Calls `each`(parameter, stored gradient, elements of the parameter) for what this process updates.
  void for_own_parts(const StepBuilder& step, const auto& each) const {
    std::map<int, comm::Part> stored;
    for (const StoredPart& part : step.stored_parts()) stored[part.parameter] = part.elements;
    for (const auto& [parameter, gradient] : step.deferred()) {
      const comm::Part& elements = stored.at(parameter);
      for (const comm::Part& part : exchange_->parts_within(elements, communicator_.rank())) {
        each(parameter, gradient, comm::Part{part.begin - elements.begin, part.count});
      }
    }
  }

  /// Appends updates that depend on the gradients of all parameters, or on sums over whole parameters.
  void append_updates_after_all(StepBuilder& step) {
    for (std::size_t bucket = 0; bucket < missing_.size(); ++bucket) append_finish(step, bucket);
    if (o_.accumulate || o_.clip_norm > 0) {
      for_own_parts(step, [&](int parameter, const Tensor& gradient, const comm::Part& elements) {
        append_norm(step, step.parameter(parameter).name, gradient, elements);
      });
      append_collective(step, "gradients.norm", "sum_over_ranks",
                        [&communicator = communicator_](std::span<void* const>, RunState& state) {
                          if (!state.updates) return;
                          communicator.agree(state.failure);
                          communicator.sum(std::span<double>(&state.squared_norm, 1));
                        });
    }
    if (o_.clip_norm > 0) append_clipping(step, o_.clip_norm);
    if (step.sum_count() == 0) {
      for_own_parts(step, [&](int parameter, const Tensor& gradient, const comm::Part& elements) {
        step.append(step.update(parameter, gradient, elements, {}));
      });
    } else {
      append_updates_with_sums(step);
    }
  }

  void append_updates_with_sums(StepBuilder& step) {
    // In the order of the store, which is the same in all processes.
    std::map<int, std::size_t> places;
    for (const StoredPart& part : step.stored_parts()) {
      places.emplace(part.parameter, places.size() * step.sum_count());
    }
    const auto sums = std::make_shared<std::vector<double>>(places.size() * step.sum_count());
    const auto sums_of = [&](int parameter) {
      return std::span(*sums).subspan(places.at(parameter), step.sum_count());
    };
    append_collective(step, "updates.begin", "clear",
                      [sums](std::span<void* const>, RunState&) { std::ranges::fill(*sums, 0.0); });
    for_own_parts(step, [&](int parameter, const Tensor& gradient, const comm::Part& elements) {
      step.append(step.sum_for_update(parameter, gradient, elements, sums_of(parameter)));
    });
    append_collective(step, "updates.sum", "sum_over_ranks",
                      [&communicator = communicator_, sums](std::span<void* const>, RunState& state) {
                        if (state.updates) communicator.sum(std::span(*sums));
                      });
    for_own_parts(step, [&](int parameter, const Tensor& gradient, const comm::Part& elements) {
      step.append(step.update(parameter, gradient, elements, sums_of(parameter)));
    });
  }

  comm::Communicator& communicator_;
  UpdateOptions o_;
  std::optional<comm::BucketExchange> exchange_;
  std::map<int, std::size_t> bucket_of_;  ///< by parameter
  std::vector<int> members_;              ///< by bucket: its parameters
  // Of the program that is being compiled:
  std::vector<int> missing_;  ///< by bucket: its parameters whose gradients don't exist yet
  std::size_t next_ = 0;      ///< the first bucket that isn't started
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
