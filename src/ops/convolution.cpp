#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "facet/error.h"
#include "facet/ops.h"
#include "lowering/lowering.h"
#include "ops/shape_rules.h"

namespace facet {

namespace {

using lowering::Backward;
using lowering::Lowering;
using lowering::StepKind;
using lowering::Tensor;
using onednn::Dims;
using onednn::Layout;
using onednn::Tag;
using onednn::Type;

using Forward = dnnl::convolution_forward;
using BackwardData = dnnl::convolution_backward_data;
using BackwardWeights = dnnl::convolution_backward_weights;

/// The primitives that share one pair of layouts.
struct Candidate {
  std::string name;
  Forward::primitive_desc forward;
  std::optional<BackwardData::primitive_desc> backward_data;
  std::optional<BackwardWeights::primitive_desc> backward_weights;
};

class Convolution final : public lowering::LowerableOp {
 public:
  explicit Convolution(const ConvolutionOptions& options) : o_(options) {}

  std::string_view kind() const override { return "convolution"; }

  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    const Shape& x = require_image(inputs.at(0));
    if (o_.groups < 1 || x[0] % o_.groups != 0 || o_.channels % o_.groups != 0 || o_.channels < 1) {
      throw Error(fmt::format("{} input and {} output channels in {} groups found; both must be multiples of the groups",
                              x[0], o_.channels, o_.groups));
    }
    return {o_.channels, window_extent(x[1], o_.kernel, o_.stride, o_.padding),
            window_extent(x[2], o_.kernel, o_.stride, o_.padding)};
  }

  double flops(const std::vector<Shape>& inputs, const Shape& output) const override {
    const auto per_output = static_cast<double>(inputs[0][0] / o_.groups * o_.kernel * o_.kernel);
    return static_cast<double>(element_count(output)) * (2 * per_output + (o_.bias ? 1 : 0));
  }
  bool has_weights() const override { return true; }

  Backward lower(Lowering& l) const override {
    const Candidate chosen = choose(l);
    const Tensor src = l.input(0, chosen.forward.src_desc());
    const Tensor dst = l.make_output(chosen.forward.dst_desc());
    std::vector<std::pair<int, Tensor>> arguments{{DNNL_ARG_SRC, src},
                                                  {DNNL_ARG_WEIGHTS, l.parameter(0, chosen.forward.weights_desc())},
                                                  {DNNL_ARG_DST, dst}};
    if (o_.bias) arguments.emplace_back(DNNL_ARG_BIAS, l.parameter(1, chosen.forward.bias_desc()));
    l.emit("forward", StepKind::convolution_forward, chosen.forward, Forward(chosen.forward), std::move(arguments));
    return [this, chosen, src](Lowering& back) { emit_backward(back, chosen, src); };
  }

 private:
  void emit_backward(Lowering& l, const Candidate& chosen, const Tensor& src) const {
    const Tensor diff_dst = l.output_gradient(chosen.forward.dst_desc());
    if (chosen.backward_data) {
      const auto& descriptor = *chosen.backward_data;
      const Tensor diff_src = l.make(descriptor.diff_src_desc());
      l.emit("backward_data", StepKind::convolution_backward_data, descriptor, BackwardData(descriptor),
             {{DNNL_ARG_DIFF_DST, diff_dst},
              {DNNL_ARG_WEIGHTS, l.parameter(0, descriptor.weights_desc())},
              {DNNL_ARG_DIFF_SRC, diff_src}});
      l.add_input_gradient(0, diff_src);
    }
    if (chosen.backward_weights) {
      const auto& descriptor = *chosen.backward_weights;
      const Tensor diff_weights = l.make(descriptor.diff_weights_desc());
      std::vector<std::pair<int, Tensor>> arguments{
          {DNNL_ARG_SRC, src}, {DNNL_ARG_DIFF_DST, diff_dst}, {DNNL_ARG_DIFF_WEIGHTS, diff_weights}};
      Tensor diff_bias;
      if (o_.bias) {
        diff_bias = l.make(descriptor.diff_bias_desc());
        arguments.emplace_back(DNNL_ARG_DIFF_BIAS, diff_bias);
      }
      l.emit("backward_weights", StepKind::convolution_backward_weights, descriptor, BackwardWeights(descriptor),
             std::move(arguments));
      if (l.wants_parameter_gradient(0)) l.set_parameter_gradient(0, diff_weights);
      if (o_.bias && l.wants_parameter_gradient(1)) l.set_parameter_gradient(1, diff_bias);
    }
  }

  /// One primitive computes both.
  bool wants_parameter_gradients(const Lowering& l) const {
    return l.wants_parameter_gradient(0) || (o_.bias && l.wants_parameter_gradient(1));
  }

  Dims weight_dims(const Lowering& l) const {
    const std::int64_t inputs = l.input_dims(0)[1];
    if (o_.groups == 1) return {o_.channels, inputs, o_.kernel, o_.kernel};
    return {o_.groups, o_.channels / o_.groups, inputs / o_.groups, o_.kernel, o_.kernel};
  }

  /// Describes the primitives for one algorithm and one pair of orders; nothing where oneDNN has none.
  std::optional<Candidate> describe(const Lowering& l, std::string name, dnnl::algorithm algorithm, const Layout& src,
                                    const Layout& dst) const {
    const Type type = l.activation_type();
    const Dims weights = weight_dims(l);
    const Layout wanted_weights = onednn::any(weights, type);
    const Layout bias = onednn::plain({o_.channels}, Type::f32);
    const Dims strides{o_.stride, o_.stride};
    const Dims padding{o_.padding, o_.padding};
    const auto attr = onednn::attributes();
    const auto kind = l.training() ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
    try {
      Candidate c;
      c.name = std::move(name);
      c.forward = o_.bias ? onednn::describe<Forward>(attr, kind, algorithm, src, wanted_weights, bias, dst, strides,
                                                      padding, padding)
                          : onednn::describe<Forward>(attr, kind, algorithm, src, wanted_weights, dst, strides, padding,
                                                      padding);
      if (!l.training()) return c;
      if (l.wants_gradient(0)) {
        c.backward_data = onednn::describe_backward<BackwardData>(attr, c.forward, algorithm, c.forward.src_desc(),
                                                                  wanted_weights, c.forward.dst_desc(), strides, padding,
                                                                  padding);
      }
      if (wants_parameter_gradients(l)) {
        const Layout gradient = onednn::any(weights, Type::f32);
        c.backward_weights =
            o_.bias ? onednn::describe_backward<BackwardWeights>(attr, c.forward, algorithm, c.forward.src_desc(),
                                                                 gradient, bias, c.forward.dst_desc(), strides, padding,
                                                                 padding)
                    : onednn::describe_backward<BackwardWeights>(attr, c.forward, algorithm, c.forward.src_desc(),
                                                                 gradient, c.forward.dst_desc(), strides, padding,
                                                                 padding);
        if (onednn::is_opaque(c.backward_weights->diff_weights_desc())) return std::nullopt;
      }
      return c;
    } catch (const dnnl::error&) {
      return std::nullopt;
    }
  }

  std::vector<Candidate> candidates(const Lowering& l) const {
    const Type type = l.activation_type();
    const Dims x = l.input_dims(0);
    const Dims y = l.output_dims();
    const Layout any_x = onednn::any(x, type);
    const Layout any_y = onednn::any(y, type);
    const Tag blocked = onednn::instructions().starts_with("avx512") ? Tag::nChw16c : Tag::nChw8c;
    // Of three channels a block would be mostly padding: the image's order is left to the primitive.
    const bool narrow = x[1] < 8;

    std::vector<Candidate> found;
    const auto consider = [&](std::string name, dnnl::algorithm algorithm, const Layout& src, const Layout& dst) {
      std::optional<Candidate> candidate = describe(l, std::move(name), algorithm, src, dst);
      if (!candidate) return;
      for (const Candidate& other : found) {
        if (other.forward.src_desc() == candidate->forward.src_desc() &&
            other.forward.dst_desc() == candidate->forward.dst_desc() &&
            std::string_view(other.forward.impl_info_str()) == candidate->forward.impl_info_str()) {
          return;
        }
      }
      found.push_back(std::move(*candidate));
    };
    consider("direct", dnnl::algorithm::convolution_direct, any_x, any_y);
    consider("direct channels_last", dnnl::algorithm::convolution_direct,
             narrow ? any_x : onednn::channels_last(x, type), onednn::channels_last(y, type));
    consider("direct blocked", dnnl::algorithm::convolution_direct, narrow ? any_x : onednn::tagged(x, type, blocked),
             onednn::tagged(y, type, blocked));
    if (onednn::has_winograd() && o_.kernel == 3 && o_.stride == 1 && o_.groups == 1 && type == Type::f32) {
      consider("winograd", onednn::winograd(), any_x, any_y);
    }
    return found;
  }

  /// Seconds of a candidate's primitives and of the reorders that its order of the input costs.
  static double seconds(const Lowering& l, const Candidate& c, double best) {
    const Layout src = c.forward.src_desc();
    const Layout dst = c.forward.dst_desc();
    const auto scratch = [](const auto& descriptor) {
      return onednn::Argument{DNNL_ARG_SCRATCHPAD, descriptor.scratchpad_desc()};
    };
    double total = 0;
    if (const auto given = l.input_layout(0); given && *given != src) {
      const auto there = onednn::reorder(*given, src);
      const auto back = onednn::reorder(src, *given);
      total += onednn::measure(dnnl::reorder(there), {{DNNL_ARG_FROM, *given}, {DNNL_ARG_TO, src}, scratch(there)}, best);
      if (c.backward_data) {
        total += onednn::measure(dnnl::reorder(back), {{DNNL_ARG_FROM, src}, {DNNL_ARG_TO, *given}, scratch(back)}, best);
      }
    }
    std::vector<onednn::Argument> arguments{{DNNL_ARG_SRC, src},
                                            {DNNL_ARG_WEIGHTS, c.forward.weights_desc()},
                                            {DNNL_ARG_BIAS, c.forward.bias_desc()},
                                            {DNNL_ARG_DST, dst},
                                            scratch(c.forward)};
    total += onednn::measure(Forward(c.forward), arguments, best - total);
    if (c.backward_data && total < 2 * best) {
      total += onednn::measure(BackwardData(*c.backward_data),
                               {{DNNL_ARG_DIFF_DST, dst},
                                {DNNL_ARG_WEIGHTS, c.backward_data->weights_desc()},
                                {DNNL_ARG_DIFF_SRC, src},
                                scratch(*c.backward_data)},
                               best - total / 2);
    }
    if (c.backward_weights && total < 2 * best) {
      total += onednn::measure(BackwardWeights(*c.backward_weights),
                               {{DNNL_ARG_SRC, src},
                                {DNNL_ARG_DIFF_DST, dst},
                                {DNNL_ARG_DIFF_WEIGHTS, c.backward_weights->diff_weights_desc()},
                                {DNNL_ARG_DIFF_BIAS, c.backward_weights->diff_bias_desc()},
                                scratch(*c.backward_weights)},
                               best - total / 2);
    }
    return total;
  }

  Candidate choose(Lowering& l) const {
    std::vector<Candidate> found = candidates(l);
    if (found.empty()) throw Error("oneDNN has no convolution of these shapes and types");
    const Dims x = l.input_dims(0);
    const auto given = l.input_layout(0);
    const std::string key =
        fmt::format("convolution {}x{}x{}x{} to {} kernel {} stride {} padding {} groups {}{}{} from {}", x[0], x[1], x[2],
                    x[3], o_.channels, o_.kernel, o_.stride, o_.padding, o_.groups, o_.bias ? " bias" : "",
                    l.training() && !l.wants_gradient(0) ? " first" : "", given ? onednn::name_of(*given) : "image");
    std::vector<std::string> names;
    for (const Candidate& candidate : found) names.push_back(candidate.name);
    const int index = l.choose(key, names, [&](int i, double best) { return seconds(l, found[i], best); });
    return std::move(found[index]);
  }

  ConvolutionOptions o_;
};

}  // namespace

Value convolution(Value x, const ConvolutionOptions& options) {
  ConvolutionOptions o = options;
  if (o.padding == -1) o.padding = o.kernel / 2;
  const std::int64_t inputs = o.groups > 0 ? x.channels() / o.groups : x.channels();
  const auto bound = static_cast<float>(1 / std::sqrt(static_cast<double>(inputs * o.kernel * o.kernel)));
  std::vector<Parameter> parameters{
      {o.name + ".weight", {o.channels, inputs, o.kernel, o.kernel}, Initializer::uniform(bound)}};
  if (o.bias) parameters.push_back({o.name + ".bias", {o.channels}, Initializer::uniform(bound)});
  return x.graph().apply(std::make_shared<const Convolution>(o), o.name, {x}, std::move(parameters));
}

}  // namespace facet
