#include "program/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <utility>

#include "base/parallel.h"
#include "facet/error.h"
#include "program/compiler.h"
#include "program/follow_layouts.h"
#include "program/memory_plan.h"

namespace facet::program {

using lowering::Step;
using lowering::Tensor;

namespace {

/// Of a batch: times the elements that a graph allows a value, they can be counted.
constexpr std::int64_t most_images = std::int64_t{1} << 20;

/// A step whose operands have addresses.
struct BoundStep {
  std::vector<dnnl::memory> memories;
  std::vector<dnnl_exec_arg_t> arguments;
  std::vector<void*> addresses;
  std::vector<std::span<const std::byte>> memory;
};

/// By buffer of the arena: the steps between which it holds something, the prologue's counted first.
std::vector<Lifetime> find_lifetimes(const Compiled& compiled) {
  std::vector<Lifetime> lifetimes(compiled.buffers.size());
  const int prologue = static_cast<int>(compiled.prologue.size());
  const int count = prologue + static_cast<int>(compiled.steps.size());
  for (int i = 0; i < count; ++i) {
    const Step& step = i < prologue ? compiled.prologue[i] : compiled.steps[i - prologue];
    for (const Tensor& operand : step.operands) {
      const Buffer& buffer = compiled.buffers[operand.buffer];
      if (buffer.place != Buffer::Place::arena) continue;
      Lifetime& lifetime = lifetimes[operand.buffer];
      lifetime.bytes = buffer.bytes;
      lifetime.include(i);
      if (buffer.kept) lifetime.last = count;
    }
  }
  return lifetimes;
}

/// By buffer: how many steps name it.
std::vector<int> count_steps(const Compiled& compiled) {
  std::vector<int> counts(compiled.buffers.size());
  for (const Step& step : compiled.steps) {
    for (const Tensor& operand : step.operands) ++counts[operand.buffer];
  }
  return counts;
}

std::int64_t moved_bytes(const Step& step, const std::vector<Buffer>& buffers, const std::vector<int>& named_by) {
  std::size_t bytes = 0;
  for (const Tensor& operand : step.operands) {
    const Buffer& buffer = buffers[operand.buffer];
    const bool is_scratch = buffer.place == Buffer::Place::arena && !buffer.kept && named_by[operand.buffer] == 1;
    if (is_scratch) continue;
    const bool is_changed = step.kind == StepKind::update && buffer.place == Buffer::Place::fixed;
    bytes += onednn::data_size(operand.layout) * (is_changed ? 2 : 1);
  }
  return static_cast<std::int64_t>(bytes);
}

}  // namespace

struct Program::State {
  ProgramOptions options;
  Parameters::State* parameters;
  PreparedMemory own_prepared;
  Compiled compiled;
  std::vector<Lifetime> lifetimes;
  MemoryPlan memory;
  std::vector<BoundStep> prologue, steps;
  dnnl::stream stream{onednn::engine()};
  lowering::RunState run;
  std::vector<std::int32_t> no_labels;
  std::vector<HeadView> heads;
  std::vector<double> seconds;
  std::uint64_t prepared_version = 0;     // of the parameters that the prologue saw
  std::uint64_t layout_version = 0;       // of the parameters that the steps were made for
  std::uint64_t checked_version = 0;      // of the parameters, as they were set, that are known to be finite
  int threads = base::compute_threads();  // that the primitives were made for
  base::Arena* bound_arena = nullptr;
  bool profile = false;
  BeforeStep before_step;
  std::optional<std::byte> poison;

  PreparedMemory& prepared() { return options.prepared != nullptr ? *options.prepared : own_prepared; }

  std::byte* address(const Tensor& tensor, const base::Arena& arena) const {
    const Buffer& buffer = compiled.buffers[tensor.buffer];
    if (buffer.place != Buffer::Place::arena) return buffer.address;
    return arena.data() + memory.offsets[tensor.buffer];
  }

  BoundStep bind(const Step& step, const base::Arena& arena) const {
    BoundStep bound;
    for (std::size_t i = 0; i < step.operands.size(); ++i) {
      std::byte* pointer = address(step.operands[i], arena);
      bound.addresses.push_back(pointer);
      bound.memory.emplace_back(pointer, step.operands[i].layout.get_size());
      if (step.arguments.empty()) continue;
      bound.memories.emplace_back(step.operands[i].layout, onednn::engine(), pointer);
      bound.arguments.push_back({step.arguments[i], bound.memories.back().get()});
    }
    return bound;
  }

  /// Of those that were set: a ReLU or a pooling takes NaN for 0, and updates see only what is trained.
  void require_finite_parameters() {
    if (checked_version == parameters->set_version) return;
    if (const int index = parameters->find_not_finite(); index >= 0) {
      throw Error(fmt::format("parameter '{}' isn't finite", parameters->at(index).name));
    }
    checked_version = parameters->set_version;
  }

  void execute(const Step& step, const BoundStep& bound) {
    if (step.kernel) {
      step.kernel(bound.addresses, run);
      return;
    }
    const dnnl_status_t status = dnnl_primitive_execute(
        step.primitive.get(), stream.get(), static_cast<int>(bound.arguments.size()), bound.arguments.data());
    if (status != dnnl_success) throw Error(fmt::format("{}: oneDNN failed with status {}", step.name, int{status}));
  }

  // --- poison: see Program::poison -----------------------------------------------------------------------------------

  std::span<std::byte> arena_memory(std::size_t buffer) const {
    return {bound_arena->data() + memory.offsets[buffer], lifetimes[buffer].bytes};
  }

  void poison_arena() const { std::ranges::fill(std::span(bound_arena->data(), memory.bytes), *poison); }

  void poison_held() {
    for (const auto& held : compiled.held) std::ranges::fill(std::span(held->data(), held->size()), *poison);
  }

  /// @param turn of the step, the prologue's counted first.
  void require_poison(const Step& step, int turn) const {
    for (std::size_t buffer = 0; buffer < lifetimes.size(); ++buffer) {
      if (lifetimes[buffer].first != turn || lifetimes[buffer].bytes == 0) continue;
      const std::span<const std::byte> untouched = arena_memory(buffer);
      if (untouched[0] == *poison && std::memcmp(untouched.data(), untouched.data() + 1, untouched.size() - 1) == 0) {
        continue;
      }
      throw Error(fmt::format("{}: an operand that it is the first to write was written before", step.name));
    }
  }

  void poison_after(int turn) const {
    for (std::size_t buffer = 0; buffer < lifetimes.size(); ++buffer) {
      if (lifetimes[buffer].last == turn) std::ranges::fill(arena_memory(buffer), *poison);
    }
  }

  /// @param turn of the step, the prologue's counted first.
  void execute_in_turn(const Step& step, const BoundStep& bound, std::size_t turn) {
    if (poison) require_poison(step, static_cast<int>(turn));
    execute(step, bound);
    if (poison) poison_after(static_cast<int>(turn));
  }
};

Program::Program(const Graph& graph, Parameters& parameters, const ProgramOptions& options, Choices& choices)
    : state_(std::make_unique<State>()) {
  if (options.batch < 1 || options.batch > most_images) {
    throw Error(fmt::format("batch {} found; 1 to {} allowed", options.batch, most_images));
  }
  to_string(options.precision);  // throws for what is none
  if (graph.heads().empty()) throw Error("the graph has no head: end it in softmax_cross_entropy");
  if (options.mode == Mode::training && options.optimizer == nullptr) throw Error("training needs an optimizer");
  State& s = *state_;
  s.options = options;
  s.parameters = &parameters.state();
  s.compiled = Compiler(graph, parameters.state(), s.options, choices, s.prepared()).compile();
  s.layout_version = s.parameters->layout_version;
  s.lifetimes = find_lifetimes(s.compiled);
  s.memory = plan_memory(s.lifetimes);
  s.run.losses.resize(graph.heads().size());
  s.no_labels.assign(graph.heads().size() * options.batch, -1);
  s.heads.resize(graph.heads().size());
  s.seconds.resize(s.compiled.steps.size());
}
Program::~Program() = default;
Program::Program(Program&&) noexcept = default;

const ProgramOptions& Program::options() const { return state_->options; }
std::size_t Program::arena_bytes() const { return state_->memory.bytes; }

std::size_t Program::held_bytes() const {
  std::size_t bytes = 0;
  for (const Buffer& buffer : state_->compiled.buffers) {
    if (buffer.place == Buffer::Place::held) bytes += buffer.bytes;
  }
  return bytes;
}

void Program::bind(base::Arena& arena) {
  State& s = *state_;
  if (arena.size() < s.memory.bytes) {
    throw Error(fmt::format("an arena of {} bytes found; {} needed", arena.size(), s.memory.bytes));
  }
  s.bound_arena = &arena;
  s.prologue.clear();
  s.steps.clear();
  for (const Step& step : s.compiled.prologue) s.prologue.push_back(s.bind(step, arena));
  for (const Step& step : s.compiled.steps) s.steps.push_back(s.bind(step, arena));
  for (std::size_t head = 0; head < s.heads.size(); ++head) {
    const auto view = [&](const Tensor& tensor) {
      return std::span<const float>(reinterpret_cast<const float*>(s.address(tensor, arena)),
                                    tensor.layout.get_size() / sizeof(float));
    };
    s.heads[head].logits = view(s.compiled.logits[head]);
    s.heads[head].probabilities = view(s.compiled.probabilities[head]);
  }
}

void Program::run(const RunInput& input) {
  State& s = *state_;
  if (s.steps.size() != s.compiled.steps.size()) throw Error("the program has no arena: bind it first");
  if (base::compute_threads() != s.threads) {
    throw Error(
        fmt::format("a program that was compiled for {} compute threads is run where there are {} "
                    "(OMP_THREAD_LIMIT, or a parallel region around the caller?): both must be the same",
                    s.threads, base::compute_threads()));
  }
  if (s.layout_version != s.parameters->layout_version) {
    follow_layouts(s.compiled, *s.parameters, s.prepared());
    s.lifetimes = find_lifetimes(s.compiled);  // the same or shorter: the plan holds
    s.layout_version = s.parameters->layout_version;
    s.seconds.resize(s.compiled.steps.size());
    bind(*s.bound_arena);
  }
  s.run.pixels = input.pixels;
  s.run.labels = input.labels != nullptr ? input.labels : s.no_labels.data();
  s.run.step = input.step;
  s.run.learning_rate = input.learning_rate;
  s.run.momentum = input.momentum;
  if (!s.options.accumulate && (input.batches_before > 0 || !input.update)) {
    throw Error("a step of several batches found; the program was compiled for steps of one");
  }
  s.run.first_image = input.first_image;
  s.run.adds_gradients = input.batches_before > 0;
  s.run.updates = input.update;
  s.run.squared_norm = 0;
  s.run.gradient_scale = 1.0F / static_cast<float>(input.batches_before + 1);
  if (s.options.mode != Mode::inference) s.require_finite_parameters();
  // In training the prologue reads what is frozen, and nothing that steps change.
  const std::uint64_t version = s.options.mode == Mode::training ? s.parameters->set_version : s.parameters->version;
  if (s.poison) s.poison_arena();
  if (s.prepared_version != version) {
    if (s.poison) s.poison_held();
    for (std::size_t i = 0; i < s.prologue.size(); ++i) {
      s.execute_in_turn(s.compiled.prologue[i], s.prologue[i], i);
    }
    s.prepared_version = version;
  }
  if (s.options.mode == Mode::training) s.parameters->round_masters();
  // Before the first step: one that throws leaves what those before it changed.
  if (s.options.mode != Mode::inference) ++s.parameters->version;
  if (s.options.mode == Mode::training) s.parameters->rounded_version = s.parameters->version;
  if (s.options.average != nullptr) ++s.options.average->state().version;
  for (std::size_t i = 0; i < s.steps.size(); ++i) {
    if (!s.profile) {
      s.execute_in_turn(s.compiled.steps[i], s.steps[i], s.prologue.size() + i);
      continue;
    }
    if (s.before_step) s.before_step(i, s.steps[i].memory);
    const auto start = std::chrono::steady_clock::now();
    s.execute(s.compiled.steps[i], s.steps[i]);
    s.seconds[i] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  s.stream.wait();
  for (std::size_t head = 0; head < s.heads.size(); ++head) s.heads[head].sums = s.run.losses[head];
}

std::span<const HeadView> Program::heads() const { return state_->heads; }

std::vector<float> Program::gradient(int parameter) const {
  const auto& gradients = state_->compiled.gradients;
  const auto found = gradients.find(parameter);
  if (found == gradients.end()) {
    throw Error(fmt::format("parameter '{}' has no gradient here", state_->parameters->at(parameter).name));
  }
  const Buffer& buffer = state_->compiled.buffers[found->second.buffer];
  const auto* values = reinterpret_cast<const float*>(buffer.address);
  return {values, values + buffer.bytes / sizeof(float)};
}

std::vector<StepInfo> Program::steps() const {
  const std::vector<int> named_by = count_steps(state_->compiled);
  std::vector<StepInfo> infos;
  for (const Step& step : state_->compiled.steps) {
    infos.push_back({step.name, step.kind, step.implementation, step.work, step.candidate, step.flops,
                     moved_bytes(step, state_->compiled.buffers, named_by)});
  }
  return infos;
}

std::span<const double> Program::step_seconds() const { return state_->seconds; }

void Program::profile(bool on, BeforeStep before) {
  state_->profile = on;
  state_->before_step = std::move(before);
}

void Program::poison(std::optional<std::byte> pattern) {
  state_->poison = pattern;
  state_->prepared_version = 0;  // what is held is filled, and prepared anew
}

}  // namespace facet::program
