#include "kernels/batch_norm.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "comm/communicator.h"
#include "facet/error.h"
#include "facet/ops.h"
#include "lowering/lowering.h"
#include "ops/fusion.h"
#include "ops/shape_rules.h"

namespace facet::ops {

namespace {

using lowering::Backward;
using lowering::InstructionKind;
using lowering::Lowering;
using lowering::RunState;
using lowering::Tensor;
using onednn::Layout;
using onednn::Type;

enum ParameterIndex : std::uint8_t { weight, bias, running_mean, running_var, num_batches_tracked };

kernels::BatchNormParameters by_channel(std::span<void* const> operands, float eps) {
  const auto at = [&](int i) { return static_cast<const float*>(operands[i]); };
  return {at(0), at(1), at(2), at(3), eps};
}

/// @param where begins the message.
void require_values(std::int64_t per_channel, std::string_view where = "") {
  if (per_channel >= 2) return;
  throw Error(
      fmt::format("{}{} value per channel found; training needs at least 2, as one has no variance: use a "
                  "larger batch or image",
                  where, per_channel));
}

/// The statistics of one process as it sends them to the others: the means and variances of `channels` channels, then
/// whether its run has failed.
std::int64_t message_floats(std::int64_t channels) { return 2 * channels + 1; }

/// Memory for doubles.
Layout doubles(std::int64_t count) {
  constexpr std::int64_t floats = sizeof(double) / sizeof(float);
  return onednn::plain({floats * count}, Type::f32);
}

class BatchNorm final : public FusableOp {
 public:
  BatchNorm(float eps, float momentum, const Epilogue& epilogue = {}, const std::optional<PoolWindow>& max_pool = {})
      : FusableOp(epilogue), eps_(eps), momentum_(momentum), max_pool_(max_pool) {
    if (epilogue.residual) kind_ += "+add";
    if (epilogue.has_activation()) kind_.append("+").append(name_of(epilogue.activation));
    if (max_pool) kind_ += "+max_pool";
  }

  std::string_view kind() const override { return kind_; }
  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    require_inputs(inputs, epilogue_.residual ? 2 : 1);
    if (!std::isfinite(eps_) || eps_ < 0)
      throw Error(fmt::format("eps {} found; a number of at least 0 is needed", eps_));
    if (!(momentum_ >= 0 && momentum_ <= 1))
      throw Error(fmt::format("momentum {} found; 0 to 1 is allowed", momentum_));
    return require_image(inputs[0]);
  }
  double flops(const std::vector<Shape>&, const Shape& output) const override {
    return (4.0 + (epilogue_.residual ? 1 : 0)) * static_cast<double>(element_count(output));
  }
  graph::Operand write_operators(graph::OperatorWriter& writer) const override {
    const graph::Operand y = writer.write("BatchNormalization",
                                          {writer.input(0), writer.parameter(weight), writer.parameter(bias),
                                           writer.parameter(running_mean), writer.parameter(running_var)},
                                          {{"epsilon", eps_}});
    return write(epilogue_, writer, y);
  }
  std::shared_ptr<const graph::Op> with(const Epilogue& more) const override {
    if (more.batch_norm_eps || epilogue_.has_activation() || (epilogue_.residual && more.residual)) return nullptr;
    return std::make_shared<const BatchNorm>(
        eps_, momentum_, Epilogue{.residual = epilogue_.residual || more.residual, .activation = more.activation});
  }

  /// The same op, in training programs, with the max pooling of its output; null when it can't compute that.
  std::shared_ptr<const graph::Op> with_max_pool(const PoolWindow& window) const {
    const bool is_square = window.height == window.width;
    if (epilogue_.residual || !is_square || window.height > kernels::largest_max_pool_kernel) return nullptr;
    return std::make_shared<const BatchNorm>(eps_, momentum_, epilogue_, window);
  }

  /// The epilogue of a convolution that this batch normalisation, by running statistics, becomes a part of.
  Epilogue as_epilogue() const {
    Epilogue folded = epilogue_;
    folded.batch_norm_eps = eps_;
    return folded;
  }

  Backward lower(Lowering& l) const override {
    // How many images all processes have together is known in the run.
    if (trains(l) && l.synchronized() == nullptr) require_values(l.batch() * values_per_image(l));
    return l.activation_type() == Type::bf16 ? lower_as<std::uint16_t>(l) : lower_as<float>(l);
  }

 private:
  /// Whether it normalises by the batch's statistics, and updates the running ones. If both weight and bias are frozen,
  /// it normalises by the running statistics, as in inference.
  static bool trains(const Lowering& l) {
    return l.training() && (l.wants_parameter_gradient(weight) || l.wants_parameter_gradient(bias));
  }

  /// The tensors that forward saves for backward. Without pooling `indices` is empty.
  struct Saved {
    Tensor src, dst, mean, variance, indices;
  };

  /// An operand that an instruction may have.
  struct Optional {
    int index = -1;

    explicit operator bool() const { return index >= 0; }
    template <class T>
    T* in(std::span<void* const> operands) const {
      return index < 0 ? nullptr : static_cast<T*>(operands[static_cast<std::size_t>(index)]);
    }
  };

  /// Where backward's instructions read results of forward.
  struct Results {
    Optional y, indices;
  };

  /// The gradients that backward passes on, and at which operands its instruction writes them. The residual's gradient
  /// is the part of the output's gradient that passes the activation; without an activation it is the output's gradient
  /// itself. The same instruction adds the gradient that other readers of the input have given so far.
  struct Gradients {
    Tensor input, residual;
    Optional input_at, before_at, masked_at;
    std::int64_t before_stride = 0;
  };

  template <class T>
  Backward lower_as(Lowering& l) const {
    const Layout layout = onednn::channels_last(l.input_dims(0), l.activation_type());
    const auto given = l.input_layout(0);
    Saved saved;
    saved.src = l.input(0, given && onednn::row_stride(*given) ? *given : layout);
    const kernels::BatchNormShape shape = pooled_shape_of(l, saved.src.layout);
    const Layout channel = onednn::plain({shape.channels}, Type::f32);
    const Layout scratch_layout = onednn::plain({kernels::batch_norm_scratch(shape)}, Type::f32);
    if (trains(l)) {
      saved.mean = l.make(channel);
      saved.variance = l.make(channel);
      emit_statistics<T>(l, saved);
      track_statistics(l, saved.mean, saved.variance);
    } else {
      saved.mean = l.parameter(running_mean, channel);
      saved.variance = l.parameter(running_var, channel);
    }
    std::vector<Tensor> operands{saved.mean,
                                 saved.variance,
                                 l.parameter(weight, channel),
                                 l.parameter(bias, channel),
                                 saved.src,
                                 saved.dst = l.make_output(onednn::with_dims(layout, l.output_dims())),
                                 l.make(scratch_layout)};
    if (epilogue_.residual) operands.push_back(l.input(1, layout));
    if (max_pool_) saved.indices = l.make(onednn::plain({shape.y_rows() * shape.channels}, Type::u8));
    const Optional indices = add(operands, saved.indices);
    l.emit("forward", InstructionKind::normalization, "batch_norm", std::move(operands),
           [=, eps = eps_, epilogue = epilogue_](std::span<void* const> at, RunState&) {
             kernels::batch_norm_forward(shape, by_channel(at, eps), static_cast<const T*>(at[4]),
                                         epilogue.residual ? static_cast<const T*>(at[7]) : nullptr,
                                         epilogue.activation, static_cast<T*>(at[5]), indices.in<std::uint8_t>(at),
                                         static_cast<float*>(at[6]));
           });
    l.mark_recomputable();
    if (!l.training()) return {};
    if (!trains(l)) return [=, this](Lowering& back) { emit_frozen_backward<T>(back, saved); };
    return [=, this](Lowering& back) { emit_backward<T>(back, saved); };
  }

  static kernels::BatchNormShape shape_of(const Layout& x) {
    const onednn::Dims dims = onednn::dims_of(x);
    return {dims[0] * dims[2] * dims[3], dims[1], base::current_threads(), onednn::row_stride(x).value()};
  }

  /// With the pooling after it.
  kernels::BatchNormShape pooled_shape_of(const Lowering& l, const Layout& x) const {
    kernels::BatchNormShape shape = shape_of(x);
    if (!max_pool_) return shape;
    const onednn::Dims in = l.input_dims(0), out = l.output_dims();
    shape.pool = {.height = in[2],
                  .width = in[3],
                  .kernel = max_pool_->height,
                  .stride = max_pool_->stride,
                  .padding = max_pool_->padding,
                  .out_height = out[2],
                  .out_width = out[3]};
    return shape;
  }

  static std::int64_t values_per_image(const Lowering& l) {
    const onednn::Dims x = l.input_dims(0);
    return x[2] * x[3];
  }

  template <class T>
  static void emit_statistics(Lowering& l, const Saved& saved) {
    const kernels::BatchNormShape shape = shape_of(saved.src.layout);
    const Tensor scratch = l.make(onednn::plain({kernels::batch_norm_scratch(shape)}, Type::f32));
    if (l.synchronized() == nullptr) {
      l.emit("statistics", InstructionKind::normalization, "batch_norm",
             {saved.src, saved.mean, saved.variance, scratch}, [=](std::span<void* const> operands, RunState&) {
               kernels::batch_norm_statistics(shape, static_cast<const T*>(operands[0]),
                                              static_cast<float*>(operands[1]), static_cast<float*>(operands[2]),
                                              static_cast<float*>(operands[3]));
             });
      return;
    }
    const Tensor own = l.make(onednn::plain({message_floats(shape.channels)}, Type::f32));
    l.emit("statistics", InstructionKind::normalization, "batch_norm", {saved.src, own, scratch},
           [=](std::span<void* const> operands, RunState&) {
             auto* mean = static_cast<float*>(operands[1]);
             kernels::batch_norm_statistics(shape, static_cast<const T*>(operands[0]), mean, mean + shape.channels,
                                            static_cast<float*>(operands[2]));
           });
    emit_statistics_exchange(l, own, saved);
  }

  /// Makes the statistics of the images of all processes from those of each.
  /// @param own this process's, as it sends them.
  static void emit_statistics_exchange(Lowering& l, const Tensor& own, const Saved& saved) {
    comm::Communicator* group = l.synchronized();
    const std::int64_t channels = saved.mean.float_count(), values = values_per_image(l);
    const std::int64_t stride = message_floats(channels), count = stride * group->size();
    l.emit("statistics_exchange", InstructionKind::communication, "batch_norm",
           {own, l.make(onednn::plain({count}, Type::f32)), saved.mean, saved.variance},
           [=](std::span<void* const> operands, RunState& state) {
             const std::span<float> sent(static_cast<float*>(operands[0]), static_cast<std::size_t>(stride));
             const std::span<float> received(static_cast<float*>(operands[1]), static_cast<std::size_t>(count));
             sent.back() = state.failure != nullptr ? 1 : 0;
             group->all_gather(std::span<const float>(sent), received);
             // All processes stop here, so that what a failed one has in place of statistics reaches no running ones.
             for (std::int64_t end = stride; end <= count; end += stride) {
               if (received[static_cast<std::size_t>(end - 1)] == 0) continue;
               group->agree(state.failure);
               break;
             }
             require_values(state.all_images * values, "batch_norm of all processes' images: ");  // throws on all
             kernels::batch_norm_combine_statistics(channels, state.rank_images, values, received.data(), stride,
                                                    static_cast<float*>(operands[2]), static_cast<float*>(operands[3]));
           });
    l.mark_collective();
  }

  /// Moves the running statistics. Where the batch's are those of all processes, each process moves its own alike, also
  /// one that has no image.
  void track_statistics(Lowering& l, const Tensor& mean, const Tensor& variance) const {
    const bool is_synchronized = l.synchronized() != nullptr;
    const std::int64_t channels = l.input_dims(0)[1], values = values_per_image(l), batch = l.batch();
    const float momentum = momentum_;
    l.emit("running_statistics", InstructionKind::normalization, "batch_norm",
           {mean, variance, l.statistic(running_mean), l.statistic(running_var), l.statistic(num_batches_tracked)},
           [=](std::span<void* const> operands, RunState& state) {
             const auto count = static_cast<float>((is_synchronized ? state.all_images : batch) * values);
             const float unbiased = count / (count - 1);
             const auto* batch_mean = static_cast<const float*>(operands[0]);
             const auto* batch_variance = static_cast<const float*>(operands[1]);
             auto* kept_mean = static_cast<float*>(operands[2]);
             auto* kept_variance = static_cast<float*>(operands[3]);
             for (std::int64_t c = 0; c < channels; ++c) {
               kept_mean[c] += momentum * (batch_mean[c] - kept_mean[c]);
               kept_variance[c] += momentum * (batch_variance[c] * unbiased - kept_variance[c]);
             }
             ++*static_cast<std::int64_t*>(operands[4]);
           });
    if (is_synchronized) l.mark_collective();
  }

  template <class T>
  void emit_backward(Lowering& l, const Saved& saved) const {
    const kernels::BatchNormShape shape = pooled_shape_of(l, saved.src.layout);
    const Layout channel = saved.mean.layout;
    const Tensor diff_weight = l.make(channel);
    const Tensor diff_bias = l.make(channel);
    std::vector<Tensor> operands{saved.mean,
                                 saved.variance,
                                 l.parameter(weight, channel),
                                 l.parameter(bias, channel),
                                 saved.src,
                                 l.output_gradient(saved.dst.layout),
                                 diff_weight,
                                 diff_bias,
                                 l.make(onednn::plain({kernels::batch_norm_scratch(shape)}, Type::f32))};
    const Results results = add_results(saved, operands);
    const Layout layout = onednn::channels_last(l.input_dims(0), l.activation_type());
    const Gradients gradients = make_gradients(l, layout, operands);
    if (l.synchronized() != nullptr && gradients.input_at) {
      const Tensor sums = emit_gradient_sums<T>(l, shape, operands, saved, gradients);
      emit_synchronized_gradient<T>(l, shape, operands, sums, results, gradients);
    } else {  // diff_weight and diff_bias alone are sums of this process's images, added later as all gradients are
      l.emit("backward", InstructionKind::normalization, "batch_norm", std::move(operands),
             [=, eps = eps_, activation = epilogue_.activation](std::span<void* const> at, RunState&) {
               kernels::batch_norm_backward<T>(shape, by_channel(at, eps), activation,
                                               tensors_of<T>(at, results, gradients), static_cast<float*>(at[8]));
             });
    }
    give(l, gradients);
    if (l.wants_parameter_gradient(weight)) l.set_parameter_gradient(weight, diff_weight);
    if (l.wants_parameter_gradient(bias)) l.set_parameter_gradient(bias, diff_bias);
  }

  /// Emits the first part of backward and the exchange of its sums.
  /// @param backward the operands of the second part.
  /// @return the sums of all processes: doubles {processes, 2, channels}.
  template <class T>
  Tensor emit_gradient_sums(Lowering& l, const kernels::BatchNormShape& shape, const std::vector<Tensor>& backward,
                            const Saved& saved, const Gradients& gradients) const {
    comm::Communicator* group = l.synchronized();
    const std::int64_t count = 2 * shape.channels;
    const Tensor own = l.make(doubles(count)), all = l.make(doubles(count * group->size()));
    std::vector<Tensor> operands(backward.begin(), backward.begin() + 6);
    operands.push_back(own);
    operands.push_back(l.make(onednn::plain({kernels::batch_norm_scratch(shape)}, Type::f32)));
    const Results results = add_results(saved, operands);
    const Optional masked_at = add(operands, gradients.masked_at ? gradients.residual : Tensor());
    l.emit("backward_sums", InstructionKind::normalization, "batch_norm", std::move(operands),
           [=, eps = eps_, activation = epilogue_.activation](std::span<void* const> at, RunState&) {
             kernels::batch_norm_gradient_sums<T>(shape, by_channel(at, eps), activation,
                                                  {.x = static_cast<const T*>(at[4]),
                                                   .y = results.y.in<const T>(at),
                                                   .diff_y = static_cast<const T*>(at[5]),
                                                   .diff_residual = masked_at.in<T>(at),
                                                   .diff_x_before = nullptr,
                                                   .diff_x_before_stride = 0,
                                                   .diff_x = nullptr,
                                                   .diff_weight = nullptr,
                                                   .diff_bias = nullptr,
                                                   .indices = results.indices.in<const std::uint8_t>(at)},
                                                  static_cast<double*>(at[6]), static_cast<float*>(at[7]));
           });
    l.emit("backward_exchange", InstructionKind::communication, "batch_norm", {own, all},
           [=](std::span<void* const> at, RunState& state) {
             const std::span<double> sent(static_cast<double*>(at[0]), static_cast<std::size_t>(count));
             const std::span<double> received(static_cast<double*>(at[1]), sent.size() * group->size());
             if (state.images == 0 || state.failure != nullptr) std::ranges::fill(sent, 0);
             group->all_gather(std::span<const double>(sent), received);
           });
    l.mark_collective();
    return all;
  }

  /// Emits the second part of backward.
  template <class T>
  void emit_synchronized_gradient(Lowering& l, const kernels::BatchNormShape& shape, std::vector<Tensor> operands,
                                  const Tensor& sums, const Results& results, const Gradients& gradients) const {
    const comm::Communicator* group = l.synchronized();
    const std::int64_t values = values_per_image(l);
    const Optional sums_at = add(operands, sums);
    l.emit("backward", InstructionKind::normalization, "batch_norm", std::move(operands),
           [=, eps = eps_, activation = epilogue_.activation](std::span<void* const> at, RunState& state) {
             kernels::batch_norm_gradient<T>(shape, by_channel(at, eps), activation,
                                             tensors_of<T>(at, results, gradients),
                                             {.parts = sums_at.in<const double>(at),
                                              .processes = group->size(),
                                              .own = group->rank(),
                                              .rows = state.all_images * values},
                                             static_cast<float*>(at[8]));
           });
  }

  template <class T>
  void emit_frozen_backward(Lowering& l, const Saved& saved) const {
    const kernels::BatchNormShape shape = shape_of(saved.src.layout);
    const Layout channel = saved.mean.layout;
    const Layout layout = saved.dst.layout;
    std::vector<Tensor> operands{saved.mean,
                                 saved.variance,
                                 l.parameter(weight, channel),
                                 l.parameter(bias, channel),
                                 l.output_gradient(layout),
                                 l.make(onednn::plain({kernels::batch_norm_scratch(shape)}, Type::f32))};
    const Optional y = add(operands, epilogue_.has_activation() ? saved.dst : Tensor());
    const Gradients gradients = make_gradients(l, layout, operands);
    if (gradients.input || gradients.masked_at) {
      l.emit("backward", InstructionKind::normalization, "batch_norm_frozen", std::move(operands),
             [=, eps = eps_, activation = epilogue_.activation](std::span<void* const> at, RunState&) {
               kernels::batch_norm_backward_frozen<T>(shape, by_channel(at, eps), activation,
                                                      {.x = nullptr,
                                                       .y = y.in<const T>(at),
                                                       .diff_y = static_cast<const T*>(at[4]),
                                                       .diff_residual = gradients.masked_at.in<T>(at),
                                                       .diff_x_before = gradients.before_at.in<const T>(at),
                                                       .diff_x_before_stride = gradients.before_stride,
                                                       .diff_x = gradients.input_at.in<T>(at),
                                                       .diff_weight = nullptr,
                                                       .diff_bias = nullptr},
                                                      static_cast<float*>(at[5]));
             });
    }
    give(l, gradients);
  }

  /// Appends a tensor unless it is empty.
  static Optional add(std::vector<Tensor>& operands, const Tensor& tensor) {
    if (!tensor) return {};
    operands.push_back(tensor);
    return {static_cast<int>(operands.size()) - 1};
  }

  Results add_results(const Saved& saved, std::vector<Tensor>& operands) const {
    // Without a residual, the activation's argument is computed again from the input.
    const bool reads_y = epilogue_.residual && epilogue_.has_activation();
    const Optional y = add(operands, reads_y ? saved.dst : Tensor());
    return {.y = y, .indices = add(operands, saved.indices)};
  }

  /// What an instruction of emit_backward() reads and writes.
  template <class T>
  static kernels::BatchNormBackward<T> tensors_of(std::span<void* const> at, const Results& results,
                                                  const Gradients& gradients) {
    return {.x = static_cast<const T*>(at[4]),
            .y = results.y.in<const T>(at),
            .diff_y = static_cast<const T*>(at[5]),
            .diff_residual = gradients.masked_at.in<T>(at),
            .diff_x_before = gradients.before_at.in<const T>(at),
            .diff_x_before_stride = gradients.before_stride,
            .diff_x = gradients.input_at.in<T>(at),
            .diff_weight = static_cast<float*>(at[6]),
            .diff_bias = static_cast<float*>(at[7]),
            .indices = results.indices.in<const std::uint8_t>(at)};
  }

  Gradients make_gradients(Lowering& l, const Layout& layout, std::vector<Tensor>& operands) const {
    Gradients made;
    if (l.wants_gradient(0)) {
      made.input = l.make(layout);
      made.input_at = add(operands, made.input);
      const Tensor before = l.input_gradient(0);
      if (before && onednn::type_of(before.layout) == onednn::type_of(layout) && onednn::row_stride(before.layout)) {
        made.before_stride = *onednn::row_stride(before.layout);
        made.before_at = add(operands, before);
      }
    }
    if (!epilogue_.residual || !l.wants_gradient(1)) return made;
    made.residual = epilogue_.has_activation() ? l.make(layout) : l.output_gradient(layout);
    if (epilogue_.has_activation()) made.masked_at = add(operands, made.residual);
    return made;
  }

  static void give(Lowering& l, const Gradients& gradients) {
    if (gradients.before_at) {
      l.set_input_gradient(0, gradients.input);
    } else if (gradients.input) {
      l.add_input_gradient(0, gradients.input);
    }
    if (gradients.residual) l.add_input_gradient(1, gradients.residual);
  }

  float eps_;
  float momentum_;
  std::optional<PoolWindow> max_pool_;  ///< of the output, in a program that trains this op
  std::string kind_ = "batch_norm";
};

}  // namespace

std::shared_ptr<const graph::Op> fold_batch_norm(const graph::Op& convolution, const graph::Op& batch_norm) {
  const auto* found = dynamic_cast<const BatchNorm*>(&batch_norm);
  return found != nullptr ? fuse(convolution, found->as_epilogue()) : nullptr;
}

std::shared_ptr<const graph::Op> fuse_max_pool(const graph::Op& op, const PoolWindow& window) {
  const auto* found = dynamic_cast<const BatchNorm*>(&op);
  return found != nullptr ? found->with_max_pool(window) : nullptr;
}

}  // namespace facet::ops

namespace facet {

Value batch_norm(Value x, const BatchNormOptions& options) {
  const Shape channel{x.channels()};
  const std::string& name = options.name;
  std::vector<Parameter> parameters{{name + ".weight", channel, Initializer::ones()},
                                    {name + ".bias", channel, Initializer::zeros()},
                                    {name + ".running_mean", channel, Initializer::zeros(), false},
                                    {name + ".running_var", channel, Initializer::ones(), false},
                                    {name + ".num_batches_tracked", {}, Initializer::zeros(), false, DataType::s64}};
  return graph::apply(x.graph(), std::make_shared<const ops::BatchNorm>(options.eps, options.momentum), name, {x},
                      std::move(parameters));
}

}  // namespace facet
