#include "program/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <numeric>
#include <utility>

#include "base/parallel.h"
#include "comm/communicator.h"
#include "facet/error.h"
#include "program/compiler.h"
#include "program/memory.h"
#include "program/passes.h"

namespace facet::program {

using lowering::Instruction;
using lowering::Tensor;

namespace {

/// The largest batch size: times the largest number of elements that a graph allows a value, it fits in 64 bits.
constexpr std::int64_t max_images = std::int64_t{1} << 20;

/// An instruction whose operands have addresses.
struct BoundInstruction {
  std::vector<dnnl::memory> memories;
  std::vector<dnnl_exec_arg_t> arguments;
  std::vector<void*> addresses;
  std::vector<std::span<const std::byte>> memory;
};

/// By buffer of the arena: the first and last instruction that use it, counted from the first of the prologue.
std::vector<Lifetime> find_lifetimes(const Compiled& compiled) {
  std::vector<Lifetime> lifetimes(compiled.buffers.size());
  const int prologue = static_cast<int>(compiled.prologue.size());
  const int count = prologue + static_cast<int>(compiled.instructions.size());
  for (int i = 0; i < count; ++i) {
    const Instruction& instruction = i < prologue ? compiled.prologue[i] : compiled.instructions[i - prologue];
    for (const Tensor& operand : instruction.operands) {
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

/// By buffer: how many instructions use it.
std::vector<int> count_instructions(const Compiled& compiled) {
  std::vector<int> counts(compiled.buffers.size());
  for (const Instruction& instruction : compiled.instructions) {
    for (const Tensor& operand : instruction.operands) ++counts[operand.buffer];
  }
  return counts;
}

std::int64_t moved_bytes(const Instruction& instruction, const std::vector<Buffer>& buffers,
                         const std::vector<int>& named_by) {
  std::size_t bytes = 0;
  for (const Tensor& operand : instruction.operands) {
    const Buffer& buffer = buffers[operand.buffer];
    const bool is_scratch = buffer.place == Buffer::Place::arena && !buffer.kept && named_by[operand.buffer] == 1;
    if (is_scratch) continue;
    // An update or an exchange reads and writes the parameter store, but an update only writes the bf16 copies in it.
    const bool changes =
        instruction.kind == InstructionKind::update || instruction.kind == InstructionKind::communication;
    const bool is_changed =
        changes && buffer.place == Buffer::Place::fixed && onednn::type_of(operand.layout) != onednn::Type::bf16;
    bytes += onednn::data_size(operand.layout) * (is_changed ? 2 : 1);
  }
  return static_cast<std::int64_t>(bytes);
}

}  // namespace

struct Program::State {
  ProgramOptions options;
  comm::Communicator* communicator = nullptr;  // null: the program exchanges nothing with other processes
  Parameters::State* parameters;
  std::shared_ptr<const LayoutPlan> plan;  // shared with the parameters, which therefore stay in place
  PreparedMemory own_prepared;
  Compiled compiled;
  std::vector<Lifetime> lifetimes;
  MemoryPlan memory;
  std::vector<BoundInstruction> prologue, instructions;
  dnnl::stream stream{onednn::engine()};
  lowering::RunState run;
  std::vector<std::int32_t> no_labels;
  std::vector<HeadView> heads;
  std::vector<double> seconds;
  std::uint64_t prepared_at = 0;          // the parameters' generation when the prologue ran last; 0: it hasn't
  int threads = base::current_threads();  // for which the primitives were compiled
  base::Arena* bound_arena = nullptr;
  bool profile = false;
  BeforeInstruction before_instruction;
  std::optional<std::byte> poison;

  PreparedMemory& prepared() { return options.prepared != nullptr ? *options.prepared : own_prepared; }

  std::byte* address(const Tensor& tensor, const base::Arena& arena) const {
    const Buffer& buffer = compiled.buffers[tensor.buffer];
    if (buffer.place != Buffer::Place::arena) return buffer.address;
    return arena.data() + memory.offsets[tensor.buffer];
  }

  BoundInstruction bind(const Instruction& instruction, const base::Arena& arena) const {
    BoundInstruction bound;
    for (std::size_t i = 0; i < instruction.operands.size(); ++i) {
      std::byte* pointer = address(instruction.operands[i], arena);
      bound.addresses.push_back(pointer);
      bound.memory.emplace_back(pointer, instruction.operands[i].layout.get_size());
      if (instruction.arguments.empty()) continue;
      bound.memories.emplace_back(instruction.operands[i].layout, onednn::engine(), pointer);
      bound.arguments.push_back({instruction.arguments[i], bound.memories.back().get()});
    }
    return bound;
  }

  /// Checks the parameters if any were set: a ReLU or a pooling may turn NaN into 0, and updates check only what is
  /// trained.
  void require_finite_parameters() const {
    if (!parameters->is_unchecked) return;
    if (const int index = parameters->find_not_finite(); index >= 0) {
      throw Error(fmt::format("parameter '{}' isn't finite", parameters->at(index).name), ErrorCode::non_finite);
    }
    parameters->is_unchecked = false;
  }

  bool is_prepared() const {
    return prepared_at > 0 && std::ranges::all_of(compiled.prepared_from, [&](int parameter) {
             return parameters->changed[static_cast<std::size_t>(parameter)] <= prepared_at;
           });
  }

  /// Runs the prologue if a parameter that it reads has changed since.
  void prepare() {
    if (is_prepared()) return;
    if (poison) poison_held();
    for (std::size_t i = 0; i < prologue.size(); ++i) execute_in_turn(compiled.prologue[i], prologue[i], i);
    prepared_at = parameters->generation;
  }

  /// Notes the parameters that the run changes; called before its first instruction, since one may throw after others
  /// have changed values.
  void touch_written() {
    if (options.mode == Mode::inference) return;
    for (const int parameter : compiled.written) parameters->touch(parameter);
    if (options.average == nullptr) return;
    Parameters::State& average = options.average->state();
    for (std::size_t i = 0; i < average.list.size(); ++i) average.touch(static_cast<int>(i));
  }

  void execute(const Instruction& instruction, const BoundInstruction& bound) {
    if (instruction.kernel) {
      instruction.kernel(bound.addresses, run);
      return;
    }
    const dnnl_status_t status = dnnl_primitive_execute(
        instruction.primitive.get(), stream.get(), static_cast<int>(bound.arguments.size()), bound.arguments.data());
    if (status == dnnl_success) return;
    throw Error(fmt::format("{}: oneDNN failed with status {}", instruction.name, int{status}),
                status == dnnl_out_of_memory ? ErrorCode::out_of_memory : ErrorCode::unsupported);
  }

  // --- several processes ---------------------------------------------------------------------------------------------

  /// Sets what each process has of the batch.
  void set_images(std::span<const std::int64_t> rank_images) {
    const bool by_rank = options.mode == Mode::training && (communicator != nullptr || !rank_images.empty());
    run.rank_images = by_rank ? rank_images : std::span<const std::int64_t>(&options.batch, 1);
    const int size = communicator != nullptr ? communicator->size() : 1;
    const int rank = communicator != nullptr ? communicator->rank() : 0;
    if (std::ssize(run.rank_images) != size) {
      throw Error(fmt::format("the images of {} processes found; {} train", run.rank_images.size(), size));
    }
    run.images = run.rank_images[static_cast<std::size_t>(rank)];
    run.all_images = std::accumulate(run.rank_images.begin(), run.rank_images.end(), std::int64_t{0});
    if ((run.images != options.batch && run.images != 0) || run.all_images < 1) {
      throw Error(fmt::format("{} images of a batch of {} found; the program was compiled for {}", run.images,
                              run.all_images, options.batch));
    }
  }

  /// Calls `function`. Where other processes run the program too, an exception is kept instead, because they wait for
  /// this one at the next collective instruction.
  void guarded(const auto& function) {
    if (communicator == nullptr) {
      function();
      return;
    }
    try {
      function();
    } catch (...) {
      run.failure = std::current_exception();
    }
  }

  /// Whether this run executes the instruction, see Instruction::is_collective.
  bool is_due(const Instruction& instruction) const {
    if (instruction.is_collective) return true;
    if (run.failure != nullptr) return false;
    return run.images > 0 || instruction.kind == InstructionKind::update;
  }

  void require_same_threads() const {
    if (base::current_threads() == threads) return;
    throw Error(
        fmt::format("a program that was compiled for {} compute threads is run where there are {} "
                    "(OMP_THREAD_LIMIT, or a parallel region around the caller?): both must be the same",
                    threads, base::current_threads()));
  }

  // --- a run ---------------------------------------------------------------------------------------------------------

  /// @throws Error when the program can't run on it, or only on other terms.
  void set_input(const RunInput& input) {
    const bool accumulates = options.gradient_policy != nullptr && options.gradient_policy->accumulates();
    if (!accumulates && (input.batches_before > 0 || !input.update)) {
      throw Error("a step of several batches found; the program was compiled for steps of one");
    }
    set_images(input.rank_images);
    run.pixels = input.pixels;
    run.labels = input.labels != nullptr ? input.labels : no_labels.data();
    run.targets = input.targets;
    run.step = input.step;
    run.learning_rate = input.learning_rate;
    run.momentum = input.momentum;
    run.histograms = input.histograms;
    run.first_image = input.first_image;
    run.adds_gradients = input.batches_before > 0;
    run.updates = input.update;
    run.squared_norm = 0;
    run.gradient_scale = 1.0F / static_cast<float>(input.batches_before + 1);
    run.failure = nullptr;
    std::ranges::fill(run.losses, kernels::LossSums());
  }

  /// @param i index of the instruction, without the prologue.
  void run_instruction(std::size_t i) {
    const Instruction& instruction = compiled.instructions[i];
    const std::size_t turn = prologue.size() + i;
    if (!is_due(instruction)) {
      seconds[i] = 0;
      if (poison) poison_after(static_cast<int>(turn));
      return;
    }
    const auto execute_it = [&] { profile ? execute_timed(i) : execute_in_turn(instruction, instructions[i], turn); };
    instruction.is_collective ? execute_it() : guarded(execute_it);
  }

  void execute_timed(std::size_t i) {
    if (before_instruction) before_instruction(i, instructions[i].memory);
    const auto start = std::chrono::steady_clock::now();
    execute(compiled.instructions[i], instructions[i]);
    seconds[i] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  // --- poison: see Program::poison -----------------------------------------------------------------------------------

  std::span<std::byte> arena_memory(std::size_t buffer) const {
    return {bound_arena->data() + memory.offsets[buffer], lifetimes[buffer].bytes};
  }

  void poison_arena() const { std::ranges::fill(std::span(bound_arena->data(), memory.bytes), *poison); }

  void poison_held() {
    for (const auto& held : compiled.held) std::ranges::fill(std::span(held->data(), held->size()), *poison);
  }

  /// @param turn index of the instruction, counted from the first of the prologue.
  void require_poison(const Instruction& instruction, int turn) const {
    for (std::size_t buffer = 0; buffer < lifetimes.size(); ++buffer) {
      if (lifetimes[buffer].first != turn || lifetimes[buffer].bytes == 0) continue;
      const std::span<const std::byte> untouched = arena_memory(buffer);
      if (untouched[0] == *poison && std::memcmp(untouched.data(), untouched.data() + 1, untouched.size() - 1) == 0) {
        continue;
      }
      throw Error(fmt::format("{}: an operand that it is the first to write was written before", instruction.name));
    }
  }

  void poison_after(int turn) const {
    for (std::size_t buffer = 0; buffer < lifetimes.size(); ++buffer) {
      if (lifetimes[buffer].last == turn) std::ranges::fill(arena_memory(buffer), *poison);
    }
  }

  /// @param turn index of the instruction, counted from the first of the prologue.
  void execute_in_turn(const Instruction& instruction, const BoundInstruction& bound, std::size_t turn) {
    if (poison) require_poison(instruction, static_cast<int>(turn));
    execute(instruction, bound);
    if (poison) poison_after(static_cast<int>(turn));
  }
};

namespace {

void require_options(const Graph& graph, const ProgramOptions& options) {
  if (options.batch < 1 || options.batch > max_images) {
    throw Error(fmt::format("batch {} found; 1 to {} allowed", options.batch, max_images));
  }
  to_string(options.precision);  // throws for an invalid value
  if (graph.heads().empty()) throw Error("the graph has no head: end it in a loss");
}

/// @throws Error naming the first parameter of the graph that isn't among `parameters`.
void require_parameters(const Graph& graph, const Parameters::State& parameters) {
  for (std::size_t i = 0; i < std::max(graph.parameters().size(), parameters.list.size()); ++i) {
    const bool exists = i < graph.parameters().size() && i < parameters.list.size();
    if (exists && graph.parameters()[i].shape == parameters.list[i].shape &&
        graph.parameters()[i].name == parameters.list[i].name &&
        graph.parameters()[i].is_trained() == parameters.list[i].is_trained()) {
      continue;
    }
    throw Error(fmt::format("parameter '{}' of the graph is not one of the parameters that it is compiled for",
                            i < graph.parameters().size() ? graph.parameters()[i].name : parameters.list[i].name));
  }
}

/// Completes the options of a training program and allocates what its updates need in the store.
void prepare_store(ProgramOptions& options, Parameters::State& parameters) {
  if (options.optimizer == nullptr) throw Error("training needs an optimizer");
  if (options.gradient_policy == nullptr) options.gradient_policy = optim::update_policy();
  parameters.require_slots(options.optimizer->slot_names());
  if (options.gradient_policy->stores_gradients()) parameters.require_gradients();
  if (options.average == nullptr) return;
  for (std::size_t i = 0; i < parameters.list.size(); ++i) {
    const StoredParameter& average = options.average->state().stored.at(i);
    if (average.layout == parameters.stored[i].layout && !average.bf16_offset) continue;
    throw Error(fmt::format("the average of parameter '{}' has another layout, or a bf16 copy, which no update writes",
                            parameters.list[i].name));
  }
}

}  // namespace

Program::Program(const Graph& graph, Parameters& parameters, const ProgramOptions& options, TuningRecord& tuning_record)
    : state_(std::make_unique<State>()) {
  require_options(graph, options);
  State& s = *state_;
  s.options = options;
  s.communicator = communicator_of(options);
  s.parameters = &parameters.state();
  require_parameters(graph, *s.parameters);
  if (options.mode == Mode::training) prepare_store(s.options, *s.parameters);
  if (options.mode == Mode::gradients) s.options.gradient_policy = optim::keep_gradients();
  s.plan = s.parameters->plan;
  s.compiled =
      Compiler(graph, s.parameters, s.options, s.options.gradient_policy.get(), tuning_record).compile(s.prepared());
  s.lifetimes = find_lifetimes(s.compiled);
  s.memory = plan_memory(s.lifetimes);
  s.run.mean = options.mean;
  s.run.std = options.std;
  s.run.losses.resize(graph.heads().size());
  s.no_labels.assign(graph.heads().size() * options.batch, -1);
  s.heads.resize(graph.heads().size());
  s.seconds.resize(s.compiled.instructions.size());
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
  s.instructions.clear();
  for (const Instruction& instruction : s.compiled.prologue) s.prologue.push_back(s.bind(instruction, arena));
  for (const Instruction& instruction : s.compiled.instructions) s.instructions.push_back(s.bind(instruction, arena));
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
  if (s.instructions.size() != s.compiled.instructions.size()) throw Error("the program has no arena: bind it first");
  s.set_input(input);
  if (s.poison) s.poison_arena();
  s.guarded([&] {
    s.require_same_threads();
    if (s.options.mode != Mode::inference) s.require_finite_parameters();
    s.prepare();
  });
  s.touch_written();
  try {
    for (std::size_t i = 0; i < s.instructions.size(); ++i) s.run_instruction(i);
  } catch (...) {
    if (s.options.gradient_policy) s.options.gradient_policy->abandon();
    throw;
  }
  s.stream.wait();
  if (s.run.failure != nullptr) std::rethrow_exception(std::exchange(s.run.failure, nullptr));
  for (std::size_t head = 0; head < s.heads.size(); ++head) s.heads[head].sums = s.run.losses[head];
}

LayoutPlan plan_layouts(const Graph& graph, const ProgramOptions& options, TuningRecord& tuning_record) {
  require_options(graph, options);
  ProgramOptions training = options;
  training.mode = Mode::training;
  return Compiler(graph, nullptr, training, nullptr, tuning_record).plan();
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

std::vector<InstructionInfo> Program::instructions() const {
  const std::vector<int> named_by = count_instructions(state_->compiled);
  std::vector<InstructionInfo> infos;
  for (const Instruction& instruction : state_->compiled.instructions) {
    infos.push_back({instruction.name, instruction.kind, instruction.implementation, instruction.work,
                     instruction.candidate, instruction.flops,
                     moved_bytes(instruction, state_->compiled.buffers, named_by)});
  }
  return infos;
}

std::span<const double> Program::instruction_seconds() const { return state_->seconds; }

void Program::profile(bool on, BeforeInstruction before) {
  state_->profile = on;
  state_->before_instruction = std::move(before);
}

void Program::poison(std::optional<std::byte> pattern) {
  state_->poison = pattern;
  state_->prepared_at = 0;  // the next run fills the held memory and prepares it again
}

}  // namespace facet::program
