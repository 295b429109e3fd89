#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "facet/error.h"
#include "facet/ops.h"
#include "lowering/lowering.h"
#include "ops/convolution_candidate.h"
#include "ops/fusion.h"
#include "ops/shape_rules.h"

namespace facet::ops {

namespace {

using lowering::Backward;
using lowering::Lowering;
using onednn::Layout;

double reorder_seconds(const Layout& from, const Layout& to, double best) {
  if (from == to) return 0;
  const auto descriptor = onednn::reorder(from, to);
  return onednn::measure(
      dnnl::reorder(descriptor),
      {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, descriptor.scratchpad_desc()}}, best);
}

/// Seconds of the reorders, forward and backward, between a candidate's layouts and those of its neighbours, which are
/// channels-last.
double reorder_seconds(const Lowering& l, const ConvolutionTask& task, const ConvolutionCandidate& candidate,
                       double best) {
  const Layout src = candidate.src();
  const Layout given_src = l.input_layout(0).value_or(src);
  const Layout dst = candidate.dst();
  const Layout wanted_dst = onednn::channels_last(task.dst, task.type);
  double total = reorder_seconds(given_src, src, best) + reorder_seconds(dst, wanted_dst, best);
  if (task.src_gradient) total += reorder_seconds(src, given_src, best);
  if (task.training) total += reorder_seconds(wanted_dst, dst, best);
  return total;
}

class Convolution final : public FusableOp {
 public:
  explicit Convolution(const ConvolutionOptions& options, const Epilogue& epilogue = {})
      : FusableOp(epilogue), o_(options) {}

  std::string_view kind() const override { return "convolution"; }
  /// Only what follows a batch normalisation: others are not in the convolution's candidates.
  std::shared_ptr<const graph::Op> with(const Epilogue& more) const override {
    return epilogue_.empty() && more.batch_norm_eps ? std::make_shared<const Convolution>(o_, more) : nullptr;
  }

  Shape infer_shape(const std::vector<Shape>& inputs) const override {
    require_inputs(inputs, 1);
    const Shape& x = require_image(inputs[0]);
    if (o_.groups < 1 || x[0] % o_.groups != 0 || o_.channels % o_.groups != 0 || o_.channels < 1) {
      throw Error(fmt::format(
          "{} input and {} output channels in {} groups found; both must be multiples of the number of groups", x[0],
          o_.channels, o_.groups));
    }
    return {o_.channels, window_extent(x[1], o_.kernel, o_.stride, o_.padding),
            window_extent(x[2], o_.kernel, o_.stride, o_.padding)};
  }

  double flops(const std::vector<Shape>& inputs, const Shape& output) const override {
    const auto per_output = static_cast<double>(inputs[0][0] / o_.groups * o_.kernel * o_.kernel);
    return static_cast<double>(element_count(output)) * (2 * per_output + (o_.bias ? 1 : 0));
  }
  bool has_weights() const override { return true; }
  graph::Operand write_operators(graph::OperatorWriter& writer) const override {
    std::vector<graph::Operand> operands{writer.input(0)};
    if (epilogue_.batch_norm_eps) {
      for (graph::Operand& folded : write_folded(writer, o_, *epilogue_.batch_norm_eps))
        operands.push_back(std::move(folded));
    } else {
      operands.push_back(writer.parameter(0));
      if (o_.bias) operands.push_back(writer.parameter(1));
    }
    const graph::Operand y = writer.write("Conv", operands,
                                          {{"kernel_shape", Shape(2, o_.kernel)},
                                           {"strides", Shape(2, o_.stride)},
                                           {"pads", Shape(4, o_.padding)},
                                           {"group", o_.groups}});
    return write(epilogue_, writer, y);
  }

  Backward lower(Lowering& l) const override {
    ConvolutionTask task{.options = o_,
                         .epilogue = epilogue_,
                         .src = l.input_dims(0),
                         .dst = l.output_dims(),
                         .type = l.activation_type(),
                         .training = false,
                         .of_image = l.is_image(0),
                         .src_gradient = l.training() && l.wants_gradient(0),
                         .weight_gradient = l.training() && l.wants_parameter_gradient(0),
                         .bias_gradient = o_.bias && l.training() && l.wants_parameter_gradient(1)};
    task.training = task.src_gradient || task.weight_gradient || task.bias_gradient;
    return choose(l, task)->lower(l);
  }

 private:
  std::shared_ptr<const ConvolutionCandidate> choose(Lowering& l, const ConvolutionTask& task) const {
    ConvolutionCandidates found = onednn_convolutions(task);
    for (const auto& more : {winograd_convolutions, amx_convolutions}) {
      for (auto& candidate : more(task)) found.push_back(std::move(candidate));
    }
    if (found.empty()) throw Error("oneDNN has no convolution of these shapes and types");
    const auto given = l.input_layout(0);
    const std::string key =
        fmt::format("convolution {}x{}x{} to {} kernel {} stride {} padding {} groups {}{}{}{}{}{} from {}",
                    task.src[1], task.src[2], task.src[3], o_.channels, o_.kernel, o_.stride, o_.padding, o_.groups,
                    o_.bias ? " bias" : "", epilogue_text(), task.training && !task.src_gradient ? " first" : "",
                    task.training && !task.weight_gradient ? " frozen" : "",
                    l.training() && !task.training ? " forward" : "", given ? onednn::name_of(*given) : "image");
    std::vector<std::string> names;
    for (const auto& candidate : found) names.push_back(candidate->name());
    return found[l.choose(key, names, [&](int i, double best) {
      const double reorders = reorder_seconds(l, task, *found[i], best);
      return reorders + found[i]->seconds(best - reorders);
    })];
  }

  std::string epilogue_text() const {
    const std::string_view activation = name_of(epilogue_.activation);
    return fmt::format("{}{}{}{}", epilogue_.batch_norm_eps ? " batch_norm" : "", epilogue_.residual ? " add" : "",
                       activation.empty() ? "" : " ", activation);
  }

  ConvolutionOptions o_;
};

}  // namespace

}  // namespace facet::ops

namespace facet {

Value convolution(Value x, const ConvolutionOptions& options) {
  ConvolutionOptions o = options;
  if (o.padding == -1) o.padding = o.kernel / 2;
  const std::int64_t inputs = o.groups > 0 ? x.channels() / o.groups : x.channels();
  const auto bound =
      static_cast<float>(1 / std::sqrt(static_cast<double>(inputs) * std::pow(static_cast<double>(o.kernel), 2)));
  const Initializer drawn = Initializer::uniform(bound);
  std::vector<Parameter> parameters{
      {o.name + ".weight", {o.channels, inputs, o.kernel, o.kernel}, o.weight_initializer.value_or(drawn)}};
  if (o.bias) parameters.push_back({o.name + ".bias", {o.channels}, o.bias_initializer.value_or(drawn)});
  return graph::apply(x.graph(), std::make_shared<const ops::Convolution>(o), o.name, {x}, std::move(parameters));
}

}  // namespace facet
