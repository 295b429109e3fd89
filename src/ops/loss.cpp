#include "ops/loss.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

#include "facet/error.h"
#include "ops/shape_rules.h"

namespace facet::ops {

using lowering::Backward;
using lowering::InstructionKind;
using lowering::Lowering;
using lowering::RunState;
using lowering::Tensor;
using onednn::Layout;
using onednn::Type;

Shape Loss::infer_shape(const std::vector<Shape>& inputs) const {
  require_inputs(inputs, 1);
  if (inputs[0].size() == 1 && inputs[0][0] >= min_outputs()) return {};
  throw Error(fmt::format("logits of shape {} found; a vector of at least {} is needed", to_string(inputs[0]),
                          min_outputs() == 1 ? "1 output" : fmt::format("{} classes", min_outputs())));
}

double Loss::flops(const std::vector<Shape>& inputs, const Shape&) const {
  return 5.0 * static_cast<double>(inputs[0][0]);
}

LossBatch Loss::checked_batch(const float* logits, std::int64_t images, std::int64_t outputs,
                              const std::int32_t* labels, std::span<const float> values, bool needs_targets) const {
  const std::int64_t classes = graph::class_count(loss_kind(), outputs);
  LossBatch batch{.images = images, .classes = classes, .logits = logits, .labels = labels};
  if (values.empty()) {
    if (!needs_targets || !needs_values()) return batch;
    throw Error(fmt::format("head '{}': the batch has no target values, which {} needs", head_, kind()),
                ErrorCode::invalid_data);
  }
  if (std::ssize(values) != images * classes) {
    throw Error(fmt::format("head '{}': {} target values found; {} images with {} values each need {}", head_,
                            values.size(), images, classes, images * classes),
                ErrorCode::invalid_data);
  }
  batch.values = values.data();
  require_values(batch);
  return batch;
}

LossBatch Loss::batch_of_run(const void* logits, std::int64_t images, std::int64_t outputs, int head,
                             const RunState& state, bool training) const {
  const auto index = static_cast<std::size_t>(head);
  const std::span<const float> values =
      index < state.targets.size() ? std::span<const float>(state.targets[index]) : std::span<const float>();
  return checked_batch(static_cast<const float*>(logits), images, outputs, state.labels + head * images, values,
                       training);
}

void Loss::require_finite(double loss) const {
  if (std::isfinite(loss)) return;
  throw Error(fmt::format("head '{}': the loss is {}, not finite", head_, loss), ErrorCode::non_finite);
}

Backward Loss::lower(Lowering& l) const {
  const Layout layout = onednn::plain(l.input_dims(0), Type::f32);
  const Tensor logits = l.input(0, layout);
  const std::int64_t classes = graph::class_count(loss_kind(), l.input_dims(0)[1]);
  const Tensor probabilities = has_probabilities() ? l.make(onednn::plain({l.batch(), classes}, Type::f32)) : logits;
  l.set_head_tensors(logits, probabilities);
  const std::int64_t images = l.batch();
  const std::int64_t outputs = l.input_dims(0)[1];
  const int head = l.head();
  const auto self = shared_from_this();
  std::vector<Tensor> operands{logits};
  if (has_probabilities()) operands.push_back(probabilities);
  l.emit("forward", InstructionKind::loss, kind(), std::move(operands),
         [=, training = l.training(), rule = l.loss_rule()](std::span<void* const> addresses, RunState& state) {
           float* const written = addresses.size() > 1 ? static_cast<float*>(addresses[1]) : nullptr;
           const LossBatch batch = self->batch_of_run(addresses[0], images, outputs, head, state, training);
           kernels::LossSums& sums = state.losses[static_cast<std::size_t>(head)];
           sums = self->forward(batch, written, rule);
           if (training) self->require_finite(sums.loss);
         });
  return [=](Lowering& back) {
    if (!back.wants_gradient(0)) return;
    const Tensor gradient = back.make(layout);
    back.emit("backward", InstructionKind::loss, self->kind(),
              {self->keeps_logits() ? logits : probabilities, gradient},
              [=, rule = back.loss_rule()](std::span<void* const> addresses, RunState& state) {
                const auto index = static_cast<std::size_t>(head);
                LossBatch batch{.images = images, .classes = classes, .labels = state.labels + head * images};
                if (index < state.targets.size() && !state.targets[index].empty()) {
                  batch.values = state.targets[index].data();
                }
                self->backward(batch, static_cast<const float*>(addresses[0]), state.losses[index],
                               static_cast<float*>(addresses[1]), rule);
              });
    back.add_input_gradient(0, gradient);
  };
}

kernels::LossSums Loss::evaluate(std::span<const float> logits, std::span<const std::int32_t> labels,
                                 std::span<const float> values) const {
  const std::int64_t images = std::ssize(labels);
  if (images == 0) return {};
  const LossBatch batch =
      checked_batch(logits.data(), images, std::ssize(logits) / images, labels.data(), values, false);
  return forward(batch, nullptr, {});
}

void require_range(std::string_view head, const LossBatch& batch, float lowest, float highest,
                   std::string_view allowed) {
  for (std::int64_t i = 0; i < batch.images * batch.classes; ++i) {
    const float value = batch.values[i];
    if (std::isnan(value) || (value >= lowest && value <= highest)) continue;
    throw Error(fmt::format("head '{}': the target value {} found; {} allowed, and NaN where there is none", head,
                            value, allowed),
                ErrorCode::invalid_data);
  }
}

void require_distributions(std::string_view head, const LossBatch& batch) {
  require_range(head, batch, 0, std::numeric_limits<float>::max(), "finite numbers of at least 0 are");
  for (std::int64_t n = 0; n < batch.images; ++n) {
    const float* const distribution = batch.values + n * batch.classes;
    bool all_zero = true;
    for (std::int64_t c = 0; c < batch.classes; ++c) {
      if (std::isnan(distribution[c]) != std::isnan(distribution[0])) {
        throw Error(
            fmt::format("head '{}': a distribution with numbers and NaN found; an image has one or the other", head),
            ErrorCode::invalid_data);
      }
      all_zero = all_zero && distribution[c] == 0;
    }
    if (all_zero) {
      throw Error(fmt::format("head '{}': a distribution of zeros alone found; at least one number above 0 is "
                              "needed, or NaN for all classes where an image has no target",
                              head),
                  ErrorCode::invalid_data);
    }
  }
}

void add_loss(Value logits, std::string_view head, std::shared_ptr<const Loss> loss) {
  Graph& graph = logits.graph();
  if (graph.has_head(head)) throw Error(fmt::format("{}: head '{}' exists already", loss->kind(), head));
  const LossKind kind = loss->loss_kind();
  const Value value = graph::apply(graph, std::move(loss), fmt::format("loss_{}", head), {logits});
  graph::add_head(graph, head, logits, value, kind);
}

}  // namespace facet::ops
