#include "program/compiler.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <limits>

#include "base/parallel.h"
#include "facet/error.h"
#include "kernels/loss.h"
#include "kernels/pixels.h"
#include "program/passes.h"

namespace facet::program {

using lowering::Instruction;
using lowering::LowerableOp;
using lowering::RunState;
using lowering::Tensor;
using onednn::Dims;
using onednn::Layout;
using onednn::Type;

namespace {

/// The layout of a contiguous copy if `layout` is the beginning of wider rows; else `layout`.
Layout without_gaps(const Layout& layout) {
  const Dims dims = onednn::dims_of(layout);
  const auto stride = onednn::row_stride(layout);
  return stride && *stride != dims[1] ? onednn::channels_last(dims, onednn::type_of(layout)) : layout;
}

}  // namespace

Compiler::Compiler(const Graph& graph, Parameters::State* store, const ProgramOptions& options,
                   optim::GradientPolicy* policy, TuningRecord& tuning_record)
    : graph_(graph),
      list_(graph.parameters()),
      store_(store),
      options_(options),
      policy_(policy),
      tuning_record_(tuning_record),
      nodes_(fuse(graph, list_, options.mode == Mode::inference)) {
  if (training()) fuse_max_pools(nodes_, list_);
  const std::size_t count = nodes_.nodes.size();
  values_.resize(count);
  gradients_.resize(count);
  backward_.resize(count);
  chosen_.resize(count);
  needs_gradient_.resize(count, false);
  if (training()) needs_gradient_ = find_needed_gradients(nodes_.nodes, list_);
  out_.logits.resize(graph.heads().size());
  out_.probabilities.resize(graph.heads().size());
}

void Compiler::naming(std::string_view what, const std::function<void()>& function) const {
  try {
    function();
  } catch (const dnnl::error& error) {
    throw Error(fmt::format("{}: {} can't do this in {}: {}", what, onednn::version(), to_string(options_.precision),
                            error.what()),
                error.status == dnnl_out_of_memory ? ErrorCode::out_of_memory : ErrorCode::unsupported);
  } catch (const Error& error) {
    throw error.with_prefix(fmt::format("{}, in {}: ", what, to_string(options_.precision)));
  } catch (const std::exception& error) {  // that of an op that is given too few parameters
    throw Error(fmt::format("{}, in {}: {}", what, to_string(options_.precision), error.what()));
  }
}

Compiled Compiler::compile(PreparedMemory& prepared) {
  if (training()) policy_->begin(*this);
  lower_forward();
  emit_exchange_after_forward();
  forward_instructions_ = out_.instructions.size();
  if (training()) {
    lower_backward();
    policy_->backward_done(*this);
  }
  if (options_.average != nullptr) emit_average_of_statistics();
  place_held(prepared);
  if (options_.save_memory && training()) recompute(out_, forward_instructions_);
  return std::move(out_);
}

namespace {

/// Notes the order and the layouts of the gradients.
class RecordLayouts final : public optim::GradientPolicy {
 public:
  explicit RecordLayouts(LayoutPlan& plan) : plan_(plan) {}
  void gradient_ready(optim::StepBuilder&, int parameter, const Tensor& gradient) override {
    plan_.entries.push_back({.parameter = parameter, .layout = gradient.layout});
  }

 private:
  LayoutPlan& plan_;
};

}  // namespace

LayoutPlan Compiler::plan() {
  LayoutPlan plan;
  RecordLayouts recorder(plan);
  policy_ = &recorder;
  lower_forward();
  lower_backward();
  if (communicator_of(options_) != nullptr) plan = with_named_orders(std::move(plan));
  std::vector<bool> is_placed(list_.size());
  for (LayoutPlan::Entry& entry : plan.entries) {
    is_placed[static_cast<std::size_t>(entry.parameter)] = true;
    entry.has_bf16_copy = wants_bf16_copy(entry);
  }
  for (LayoutPlan::Entry& entry : plain_layouts(list_).entries) {
    if (!is_placed[static_cast<std::size_t>(entry.parameter)]) plan.entries.push_back(std::move(entry));
  }
  return plan;
}

bool Compiler::wants_bf16_copy(const LayoutPlan::Entry& entry) const {
  const auto found = read_.find(entry.parameter);
  if (found == read_.end()) return false;
  const std::vector<Tensor>& read = found->second;
  if (communicator_of(options_) != nullptr) {  // what reads f32 values needs those of all processes
    return std::ranges::all_of(read, [](const Tensor& it) { return onednn::type_of(it.layout) == Type::bf16; });
  }
  return onednn::strides_of(entry.layout).has_value() &&
         std::ranges::count(read, onednn::with_type(entry.layout, Type::bf16), &Tensor::layout) > 0;
}

void Compiler::lower_forward() {
  for (node_ = 0; node_ < static_cast<int>(nodes_.nodes.size()); ++node_) {
    const Node& node = current();
    if (node.op == nullptr || nodes_.gone[node_]) continue;
    const auto* op = dynamic_cast<const LowerableOp*>(node.op.get());
    if (op == nullptr) throw Error(fmt::format("{} ({}): no op that can be computed", node.name, node.op->kind()));
    naming(fmt::format("{} ({})", node.name, node.op->kind()), [&] { backward_[node_] = op->lower(*this); });
  }
}

void Compiler::lower_backward() {
  for (node_ = static_cast<int>(nodes_.nodes.size()) - 1; node_ >= 0; --node_) {
    const bool is_loss = head() >= 0;
    if (!backward_[node_] || !needs_gradient_[node_] || (!is_loss && !gradients_[node_])) continue;
    naming(fmt::format("{} ({}), backward", current().name, current().op->kind()), [&] { backward_[node_](*this); });
  }
}

// --- facts -----------------------------------------------------------------------------------------------------------

Type Compiler::activation_type() const { return options_.precision == Precision::bf16 ? Type::bf16 : Type::f32; }

int Compiler::input_count() const { return static_cast<int>(current().inputs.size()); }

Dims Compiler::dims_of_value(int value) const {
  Dims dims{options_.batch};
  const Shape& shape = nodes_.nodes[value].shape;
  dims.insert(dims.end(), shape.begin(), shape.end());
  return dims;
}

Dims Compiler::input_dims(int input) const { return dims_of_value(current().inputs.at(input)); }
Dims Compiler::output_dims() const { return dims_of_value(node_); }

int Compiler::head() const {
  const auto& heads = graph_.heads();
  const auto found = std::find_if(heads.begin(), heads.end(), [&](const HeadOutput& h) { return h.loss == node_; });
  return found == heads.end() ? -1 : static_cast<int>(found - heads.begin());
}

const kernels::LossRule& Compiler::loss_rule() const {
  static const kernels::LossRule plain;
  return options_.losses.empty() ? plain : options_.losses.at(static_cast<std::size_t>(head()));
}

int Compiler::choose(const std::string& key, const std::vector<std::string>& candidates,
                     const std::function<double(int, double)>& seconds) {
  const auto full_key = [&](std::int64_t batch) {
    return fmt::format("{} batch {} {} {}{}", key, batch, to_string(options_.precision),
                       training() ? "training" : "inference", threads_of_key(base::current_threads()));
  };
  const std::string own = full_key(options_.batch);
  tuning_record_.offer(own, candidates);
  const auto take = [&](std::ptrdiff_t index) {
    chosen_[node_] = candidates[index];
    return static_cast<int>(index);
  };
  std::string recorded = tuning_record_.find(own);
  if (recorded.empty()) recorded = tuning_record_.find(full_key(options_.as_for_batch));
  const auto found = std::find(candidates.begin(), candidates.end(), recorded);
  if (found != candidates.end() || !tuning_record_.tune() || candidates.size() == 1) {
    const auto chosen = found != candidates.end() ? found - candidates.begin() : 0;
    tuning_record_.record(own, candidates[chosen]);
    return take(chosen);
  }
  tuning_record_.tell_observer();
  int chosen = 0;
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < static_cast<int>(candidates.size()); ++i) {
    const double measured = seconds(i, best);
    if (measured < best) {
      best = measured;
      chosen = i;
    }
  }
  tuning_record_.record_measured(own, candidates[chosen]);
  return take(chosen);
}

// --- values ----------------------------------------------------------------------------------------------------------

std::optional<Layout> Compiler::input_layout(int input) const {
  const Tensor& tensor = values_[current().inputs.at(input)];
  if (!tensor) return std::nullopt;
  return tensor.layout;
}

Tensor Compiler::value(int value) {
  if (!values_[value] && nodes_.nodes[value].op == nullptr) {
    values_[value] = emit_input(onednn::channels_last(dims_of_value(value), activation_type()));
  }
  return values_[value];
}

Tensor Compiler::input(int input) {
  const Tensor tensor = value(current().inputs.at(input));
  return convert(tensor, without_gaps(tensor.layout));
}

Tensor Compiler::input(int input, const Layout& wanted) {
  const int v = current().inputs.at(input);
  if (!values_[v] && nodes_.nodes[v].op == nullptr && onednn::strides_of(wanted)) values_[v] = emit_input(wanted);
  return convert(value(v), wanted);
}

bool Compiler::is_image(int input) const { return nodes_.nodes[current().inputs.at(input)].op == nullptr; }

Tensor Compiler::emit_input(const Layout& wanted) {
  const Dims dims = onednn::dims_of(wanted);
  const Dims strides = *onednn::strides_of(wanted);
  const kernels::PixelStrides pixel_strides{strides[0], strides[1], strides[2], strides[3]};
  const bool bf16 = onednn::type_of(wanted) == Type::bf16;
  Instruction instruction;
  instruction.name = "input";
  instruction.kind = lowering::InstructionKind::input;
  instruction.implementation = "facet:pixels_to_input";
  instruction.work = fmt::format("input {}x{}", options_.batch, to_string(graph_.input_shape()));
  instruction.operands = {make(wanted)};
  instruction.kernel = [=](std::span<void* const> operands, RunState& state) {
    kernels::pixels_to_input(state.pixels, dims[0], dims[2], dims[3], state.mean, state.std, pixel_strides,
                             bf16 ? nullptr : static_cast<float*>(operands[0]),
                             bf16 ? static_cast<std::uint16_t*>(operands[0]) : nullptr);
  };
  out_.instructions.push_back(std::move(instruction));
  mark_recomputable();
  return out_.instructions.back().operands.front();
}

Tensor Compiler::make_output(const Layout& layout) { return values_[node_] = make(layout); }
void Compiler::set_output(const Tensor& tensor) { values_[node_] = tensor; }

Tensor Compiler::convert(const Tensor& tensor, const Layout& wanted) {
  if (tensor.layout == wanted) return tensor;
  const Dims from = onednn::dims_of(tensor.layout);
  const Dims to = onednn::dims_of(wanted);
  if (from == to) return convert_order(tensor, wanted);
  // A change of shape goes through the plain order, in which the values are the same for both shapes.
  const Tensor plain = convert_order(tensor, onednn::plain(from, onednn::type_of(tensor.layout)));
  return convert_order({plain.buffer, onednn::plain(to, onednn::type_of(tensor.layout))}, wanted);
}

Tensor Compiler::convert_order(const Tensor& tensor, const Layout& wanted) {
  if (tensor.layout == wanted) return tensor;
  for (const Tensor& other : converted_[tensor.buffer]) {
    if (other.layout == wanted) return other;
  }
  const Tensor result = make(wanted);
  out_.instructions.push_back(reorder_instruction(current().name + ".reorder", tensor, result));
  mark_recomputable();
  converted_[tensor.buffer].push_back(result);
  return result;
}

// --- gradients -------------------------------------------------------------------------------------------------------

bool Compiler::wants_gradient(int input) const { return needs_gradient_[current().inputs.at(input)]; }

bool Compiler::wants_parameter_gradient(int parameter) const {
  return training() && list_[current().parameters.at(parameter)].is_trained();
}

Tensor Compiler::output_gradient() { return gradients_.at(node_); }
Tensor Compiler::output_gradient(const Layout& wanted) { return convert(output_gradient(), wanted); }

void Compiler::add_input_gradient(int input, const Tensor& gradient) {
  const int value = current().inputs.at(input);
  Tensor& total = gradients_[value];
  if (!total) {
    total = gradient;
    return;
  }
  // The sum is computed at once, so that the parts need not be kept until backward reaches the value. It adds two
  // tensors at a time: for f32, oneDNN 2.6 runs its sum primitive by the reference implementation, but the binary one
  // by a fast implementation.
  const Layout layout = without_gaps(values_[value].layout);
  const Tensor before = convert(total, layout);
  const Tensor part = convert(gradient, layout);
  const auto descriptor =
      onednn::describe<dnnl::binary>(onednn::attributes(), dnnl::algorithm::binary_add, layout, layout, layout);
  total = make(layout);
  emit("gradient_sum", lowering::InstructionKind::elementwise, descriptor, dnnl::binary(descriptor),
       {{DNNL_ARG_SRC_0, before}, {DNNL_ARG_SRC_1, part}, {DNNL_ARG_DST, total}});
  out_.instructions.back().candidate.clear();  // a sum doesn't depend on the candidate chosen for the node
}

Tensor Compiler::input_gradient(int input) const { return gradients_[current().inputs.at(input)]; }
void Compiler::set_input_gradient(int input, const Tensor& sum) { gradients_[current().inputs.at(input)] = sum; }

void Compiler::set_parameter_gradient(int parameter, const Tensor& gradient) {
  policy_->gradient_ready(*this, current().parameters.at(parameter), gradient);
}

// --- memory and instructions -----------------------------------------------------------------------------------------

Tensor Compiler::make(const Layout& layout) {
  Buffer buffer;
  buffer.bytes = layout.get_size();
  out_.buffers.push_back(buffer);
  return {static_cast<int>(out_.buffers.size()) - 1, layout};
}

Tensor Compiler::make_fixed(const void* memory, std::size_t bytes, const Layout& layout) {
  const Tensor tensor = make(layout);
  Buffer& buffer = out_.buffers.back();
  buffer.bytes = bytes;
  buffer.place = Buffer::Place::fixed;
  buffer.address = static_cast<std::byte*>(const_cast<void*>(memory));
  return tensor;
}

Tensor Compiler::make_fixed(const void* memory, const Layout& layout) {
  return make_fixed(memory, layout.get_size(), layout);
}

Instruction Compiler::reorder_instruction(std::string name, const Tensor& from, const Tensor& to) {
  const auto descriptor = onednn::reorder(from.layout, to.layout);
  Instruction instruction;
  instruction.name = std::move(name);
  instruction.kind = lowering::InstructionKind::reorder;
  instruction.work = fmt::format("reorder {}", to_string(onednn::dims_of(from.layout)));
  instruction.implementation = descriptor.impl_info_str();
  instruction.primitive = dnnl::reorder(descriptor);
  instruction.operands = {from, to};
  instruction.arguments = {DNNL_ARG_FROM, DNNL_ARG_TO};
  add_scratch(descriptor, instruction);
  return instruction;
}

void Compiler::add_scratch(const dnnl::primitive_desc_base& descriptor, Instruction& instruction) {
  const Layout scratch = descriptor.scratchpad_desc();
  if (scratch.get_size() == 0) return;
  instruction.operands.push_back(make(scratch));
  instruction.arguments.push_back(DNNL_ARG_SCRATCHPAD);
}

void Compiler::emit(std::string_view part, lowering::InstructionKind kind, const dnnl::primitive_desc_base& descriptor,
                    const dnnl::primitive& primitive, std::vector<std::pair<int, Tensor>> arguments) {
  Instruction instruction = node_instruction(part, kind);
  instruction.flops = flops(kind);
  instruction.implementation = descriptor.impl_info_str();
  instruction.primitive = primitive;
  for (auto& [argument, tensor] : arguments) {
    instruction.arguments.push_back(argument);
    instruction.operands.push_back(std::move(tensor));
  }
  add_scratch(descriptor, instruction);
  out_.instructions.push_back(std::move(instruction));
}

void Compiler::emit(std::string_view part, lowering::InstructionKind kind, std::string_view name,
                    std::vector<Tensor> operands, lowering::Kernel kernel) {
  out_.instructions.push_back(kernel_instruction(part, kind, name, std::move(operands), std::move(kernel)));
  out_.instructions.back().flops = flops(kind);
}

std::string Compiler::work() const {
  const Node& node = current();
  std::string from;
  for (const int input : node.inputs) from += fmt::format(" {}", to_string(nodes_.nodes[input].shape));
  const bool has_weights = dynamic_cast<const LowerableOp&>(*node.op).has_weights();
  const std::string by =
      has_weights ? fmt::format(" by {}", to_string(list_[node.parameters.at(0)].shape)) : std::string();
  return fmt::format("{}{}{} to {}", node.op->kind(), from, by, to_string(node.shape));
}

Instruction Compiler::node_instruction(std::string_view part, lowering::InstructionKind kind) const {
  Instruction instruction;
  instruction.name = fmt::format("{}.{}", current().name, part);
  instruction.kind = kind;
  instruction.work = work();
  instruction.candidate = chosen_[node_];
  return instruction;
}

double Compiler::flops(lowering::InstructionKind kind) const {
  using lowering::InstructionKind;
  const auto& op = dynamic_cast<const LowerableOp&>(*current().op);
  const bool multiplies = kind == InstructionKind::convolution_forward ||
                          kind == InstructionKind::convolution_backward_data ||
                          kind == InstructionKind::convolution_backward_weights || kind == InstructionKind::linear;
  if (!multiplies || !op.has_weights()) return 0;
  std::vector<Shape> inputs;
  for (const int input : current().inputs) inputs.push_back(nodes_.nodes[input].shape);
  return op.flops(inputs, current().shape) * static_cast<double>(batch());
}

void Compiler::mark_recomputable() { out_.instructions.back().recomputable = true; }

Instruction Compiler::kernel_instruction(std::string_view part, lowering::InstructionKind kind, std::string_view name,
                                         std::vector<Tensor> operands, lowering::Kernel kernel) const {
  Instruction instruction = node_instruction(part, kind);
  instruction.implementation = fmt::format("facet:{}", name);
  instruction.operands = std::move(operands);
  instruction.kernel = std::move(kernel);
  return instruction;
}

void Compiler::set_head_tensors(const Tensor& logits, const Tensor& probabilities) {
  const int index = head();
  out_.logits.at(index) = logits;
  out_.probabilities.at(index) = probabilities;
  out_.buffers[logits.buffer].kept = true;
  out_.buffers[probabilities.buffer].kept = true;
}

}  // namespace facet::program
