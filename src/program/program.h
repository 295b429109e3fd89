#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/memory.h"
#include "facet/graph.h"
#include "facet/parameters.h"
#include "facet/tensor_types.h"
#include "kernels/loss.h"
#include "lowering/instruction.h"
#include "optim/gradient_policy.h"
#include "optim/optimizer.h"
#include "program/memory.h"
#include "program/tuning_record.h"

namespace facet::comm {
class Communicator;
}

namespace facet::program {

enum class Mode : std::uint8_t {
  training,   ///< forward, backward and update
  gradients,  ///< forward (running statistics move) and backward; the gradients are kept, see optim::keep_gradients()
  inference,  ///< forward with running statistics, without dropout
};

struct ProgramOptions {
  std::int64_t batch = 1;
  std::int64_t as_for_batch = 0;  ///< batch size whose tuning record entries are used where `batch` has none
  Precision precision = Precision::f32;
  Mode mode = Mode::inference;
  std::array<float, 3> mean{}, std{1, 1, 1};  ///< of pixels / 255, by channel
  std::uint64_t seed = 0;                     ///< of dropout
  bool save_memory = false;  ///< run cheap instructions again in backward where that lowers the peak memory
  const optim::Optimizer* optimizer = nullptr;  ///< in training; must outlive the program
  std::vector<kernels::LossRule> losses = {};   ///< by head; empty: plain losses
  /// In training: what happens to the gradients; null: optim::update_policy().
  std::shared_ptr<optim::GradientPolicy> gradient_policy = {};
  /// In training: receives the parameters' moving average; must have the same layouts, without bf16 copies, and outlive
  /// the program.
  Parameters* average = nullptr;
  double average_decay = 0;  ///< weight of the old average in a step; the first step copies the values instead
  /// In training: the processes that share each batch; must outlive the program. Null: this one has all of it. In all
  /// of them the parameters must have the same values, placed by the same plan, and the gradient policy must be of the
  /// same kind.
  comm::Communicator* communicator = nullptr;
  bool sync_batch_norm = false;  ///< batch statistics are those of all processes' images
  /// Shared with other programs of the graph; must outlive the program. Null: the program shares none.
  PreparedMemory* prepared = nullptr;
};

/// The input of one run.
struct RunInput {
  const std::uint8_t* pixels = nullptr;  ///< 8-bit RGB {batch, height, width, 3}
  const std::int32_t* labels = nullptr;  ///< {heads, batch}, -1 where there is none; null: no labels
  /// By head: {batch, outputs}, or empty where the targets are labels, as Batch::targets; empty: none for any head. In
  /// inference, the losses of heads without targets are 0.
  std::span<const std::vector<float>> targets = {};
  std::int64_t step = 1;  ///< of the optimiser, from 1; dropout's masks depend on it
  float learning_rate = 0;
  std::optional<double> momentum = {};  ///< of this step, instead of the update rule's own
  std::int64_t first_image = 0;         ///< index of the batch's first image in its step; dropout's masks depend on it
  /// In training: the number of images that each process has of the batch, by rank; empty: this process has all of it.
  /// A process has as many as its program was compiled for, or none; then it runs the communication and the updates
  /// alone, and needs no input. Gradients are those of the mean over the images of all processes.
  std::span<const std::int64_t> rank_images = {};
  std::int64_t batches_before = 0;  ///< of the same step, already accumulated; above 0 only if the policy accumulates
  bool update = true;               ///< the step ends with this batch; must be true unless the policy accumulates
  lowering::UpdateHistograms* histograms = nullptr;  ///< filled where the step ends; null: none are wanted
};

/// The result of one run for one head; valid until the next run of any program on the same arena.
struct HeadView {
  std::span<const float> logits;         ///< {batch, outputs}, see graph::class_count
  std::span<const float> probabilities;  ///< {batch, classes}; the logits where the loss has no probabilities
  kernels::LossSums sums;                ///< in training of the images of all processes
};

using lowering::InstructionKind;

struct InstructionInfo {
  std::string name;  ///< for example "block1.conv.forward"
  InstructionKind kind;
  std::string implementation;  ///< the name in oneDNN's verbose mode, or "facet:" and the name of our own kernel
  std::string work;            ///< what is computed, independently of the implementation
  std::string candidate;       ///< the chosen way to compute it; empty: there is only one
  double flops;                ///< of a convolution or linear layer, two per multiply-add; else 0
  /// Memory traffic: each operand once, what an update or an exchange changes twice, scratch memory not.
  std::int64_t bytes;
};

/// Called before each instruction of a profiled run, outside its time, with the instruction's index and all memory that
/// it reads or writes, except the run's input.
using BeforeInstruction =
    std::function<void(std::size_t instruction, std::span<const std::span<const std::byte>> memory)>;

/// A graph compiled for a batch size, a precision and a mode: a flat list of instructions over one arena. Programs of
/// one graph share its parameters, which must outlive them and stay where they are placed. A run allocates nothing.
/// Compile and run a program on one thread at a time, inside a base::ComputeScope with the same number of threads;
/// programs over different parameters and arenas may run at the same time.
class Program {
 public:
  /// Compiles the graph for parameters in any layout; updates need no reorder where plan_layouts() placed them.
  /// @throws Error when an op is not available in the precision, when an option is invalid, when the graph has no head,
  ///   or when the parameters are not the graph's.
  Program(const Graph& graph, Parameters& parameters, const ProgramOptions& options, TuningRecord& tuning_record);
  ~Program();
  Program(Program&&) noexcept;

  const ProgramOptions& options() const;
  /// Bytes of the arena that a run needs.
  std::size_t arena_bytes() const;
  /// Bytes that the program holds in addition to the arena (prepared weights), including those shared with other
  /// programs.
  std::size_t held_bytes() const;
  /// Sets the arena to run on. It must have at least arena_bytes() and outlive the program.
  void bind(base::Arena& arena);

  /// Runs all instructions.
  /// @throws Error when no arena is bound, when the number of threads is not the one the program was compiled for, or
  /// when `input` is a part of a step and the policy doesn't accumulate, or isn't the part of a batch that the program
  /// was compiled for. In training a non-finite value stops the run
  /// where it appears, with an Error:
  ///   - naming the parameter, when one that was set since the last run is non-finite (Mode::gradients too): nothing
  ///     has changed by then;
  ///   - naming the head, when its loss is non-finite or its targets are wrong (Mode::gradients too); naming the
  ///     parameter, when its gradient is non-finite and gradients are accumulated or clipped; when the norm of
  ///     gradients to be clipped is non-finite; and what a custom loss throws: running statistics have changed by
  ///     then, but no trained parameter has;
  ///   - naming the parameter, when its update wrote a non-finite value or optimiser state: that parameter and those
  ///     updated before it in the step, which are nearer to the losses, have changed by then, and so have running
  ///     statistics and the average. The others have not. Such parameters are of no use: continue from saved ones.
  /// A step that returns has left every trained parameter finite.
  ///
  /// Where several processes train (ProgramOptions::communicator), all of them call it, inside
  /// ProcessGroup::together(). An error in the forward of one is thrown on all, as together() does, before any weight
  /// has changed, but the running statistics are of no use then. So is one in backward, when optim::reduce_policy()
  /// sums the gradients; with a policy that doesn't, the weights are of no use after it. What is computed from the
  /// sums, updates too, fails on all alike.
  void run(const RunInput& input);
  std::span<const HeadView> heads() const;

  /// The gradient of a parameter after a run in Mode::gradients, in PyTorch's order. @throws Error when there is none.
  std::vector<float> gradient(int parameter) const;

  std::vector<InstructionInfo> instructions() const;
  /// Seconds of each instruction in the last run after profile(true).
  std::span<const double> instruction_seconds() const;
  void profile(bool on, BeforeInstruction before = {});

  /// For tests: fills memory of the arena with this byte wherever it holds no live data, that is, before its first
  /// writer and after its last reader, and fills what the program holds outside the arena before it is prepared again.
  /// An instruction that reads what none has written then gives other results. 0xFF is NaN in f32 and bf16 and -1 in
  /// integers; 0x7F is 3.4e38 in f32 and bf16, which a maximum does not hide. No value: off. While it is on, run()
  /// throws Error naming the instruction if an operand that it is the first to write was written before.
  void poison(std::optional<std::byte> pattern);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace facet::program
