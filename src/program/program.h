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
#include "kernels/kernels.h"
#include "lowering/step.h"
#include "optim/optimizer.h"
#include "program/choices.h"
#include "program/prepared_memory.h"

namespace facet::program {

enum class Mode : std::uint8_t {
  training,   ///< forward, backward and update
  gradients,  ///< forward (running statistics move) and backward; the gradients are kept to be looked at
  inference,  ///< forward with running statistics, without dropout
};

struct ProgramOptions {
  std::int64_t batch = 1;
  std::int64_t as_for_batch = 0;  ///< what isn't chosen for `batch` yet is taken as it is for this one
  Precision precision = Precision::f32;
  Mode mode = Mode::inference;
  std::array<float, 3> mean{}, std{1, 1, 1};    ///< of pixels / 255, by channel
  std::uint64_t seed = 0;                       ///< of dropout
  bool save_memory = false;                     ///< run cheap steps once more in backward where that lowers the peak
  const optim::Optimizer* optimizer = nullptr;  ///< in training; must outlive the program
  std::vector<kernels::LossRule> losses = {};   ///< by head; empty: plain cross-entropies
  bool accumulate = false;                      ///< several runs may make a step, of their gradients' mean
  double clip_norm = 0;  ///< in training: gradients whose norm, all in one vector, is above it are scaled down; 0: none
  Parameters* average = nullptr;  ///< in training: takes all parameters' moving average; must outlive the program
  double average_decay = 0;       ///< what a step leaves of it, but for the first step, which copies
  PreparedMemory* prepared =
      nullptr;  ///< shared with other programs of the graph; must outlive the program; null: none
};

/// What one run reads.
struct RunInput {
  const std::uint8_t* pixels = nullptr;  ///< 8-bit RGB {batch, height, width, 3}
  const std::int32_t* labels = nullptr;  ///< {heads, batch}, -1 for none; null: none at all
  std::int64_t step = 1;                 ///< of the optimiser, from 1; dropout's masks follow it
  float learning_rate = 0;
  std::optional<double> momentum = {};  ///< of this step, instead of the update rule's own
  std::int64_t first_image = 0;         ///< of the batch in its step's images; dropout's masks follow it
  std::int64_t batches_before = 0;      ///< of the same step; their gradients wait. Above 0 with `accumulate` only
  bool update = true;                   ///< the step ends with this batch; always without `accumulate`
};

/// What one run leaves, by head; valid until the next run of any program on the same arena.
struct HeadView {
  std::span<const float> logits;         ///< {batch, classes}
  std::span<const float> probabilities;  ///< {batch, classes}
  kernels::LossSums sums;
};

using lowering::StepKind;

struct StepInfo {
  std::string name;  ///< block1.conv.forward
  StepKind kind;
  std::string implementation;  ///< as oneDNN's verbose mode names it; our own kernels "facet:" and a name
  std::string work;            ///< what is computed, the same for all ways to compute it
  std::string candidate;       ///< the way that was chosen; empty: there is one only
  double flops;                ///< two a multiply-add, of a convolution or linear layer; else 0
  std::int64_t bytes;  ///< that must be moved: operands, each once (what an update changes twice), but no scratch
};

/// Told before a step of a profiled run, outside its time: which one, and all memory that it reads or writes but the
/// run's input.
using BeforeStep = std::function<void(std::size_t step, std::span<const std::span<const std::byte>> memory)>;

/// A graph compiled for a batch size, a precision and a mode: a flat list of steps over one arena. Programs of one
/// graph share its parameters, which must outlive them. Running allocates nothing, but for this: a program that was
/// compiled before the first training program, which puts parameters into another layout, makes the reorders that copy
/// them anew: for inference whenever they have changed, in Mode::gradients at every run. Compile and run on one thread
/// at a time, inside a base::ComputeScope with the same number of threads.
class Program {
 public:
  /// Compiles. Parameters may be put into another layout, which the programs compiled before follow.
  /// @throws Error when an op can't be had in that precision.
  Program(const Graph& graph, Parameters& parameters, const ProgramOptions& options, Choices& choices);
  ~Program();
  Program(Program&&) noexcept;

  const ProgramOptions& options() const;
  /// Bytes of the arena that a run needs.
  std::size_t arena_bytes() const;
  /// Bytes that the program holds beside it (prepared weights), those that it shares with other programs included.
  std::size_t held_bytes() const;
  /// Takes the arena to run on; it must have arena_bytes() and outlive the program.
  void bind(base::Arena& arena);

  /// Runs all steps. @throws Error when there are other threads than it was compiled for. In training what isn't finite stops it where it appears, with an Error:
  ///   - naming the parameter, when one that was set since the last run isn't finite (Mode::gradients too): nothing has
  ///     changed by then;
  ///   - naming the head, when its loss isn't (Mode::gradients too); naming the parameter, when its gradient isn't and
  ///     gradients are summed over batches or clipped; when the norm of gradients to be clipped isn't: running
  ///     statistics have moved by then, no trained parameter has;
  ///   - naming the parameter, when what its update wrote isn't, value or optimiser's state: then that parameter and
  ///     those updated before it in the step, which are nearer to the losses, have changed, and so have running
  ///     statistics and the average. The others have not. Such parameters are of no use: go on from saved ones.
  /// A step that returns has left every trained parameter finite.
  void run(const RunInput& input);
  std::span<const HeadView> heads() const;

  /// Mode::gradients: of a parameter, in PyTorch's order. @throws Error when there is none.
  std::vector<float> gradient(int parameter) const;

  std::vector<StepInfo> steps() const;
  /// Seconds of each step in the last run after profile(true).
  std::span<const double> step_seconds() const;
  void profile(bool on, BeforeStep before = {});

  /// For tests: fills memory of the arena with this byte wherever it holds nothing, that is before its first writer and
  /// after its last reader, and what the program holds beside the arena before it is prepared anew, so that a step that
  /// reads what none has written gives other numbers. 0xFF is NaN in f32 and bf16 and -1 in integers; 0x7F is 3.4e38
  /// in both, which a maximum does not hide. Nothing: off. While it is on, run() throws Error naming the step whose
  /// operand was written before it was that step's turn.
  void poison(std::optional<std::byte> pattern);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// FLOPs (two a multiply-add) of one image. Training: forward, and the gradients that a program computes: of a
/// convolution or linear layer by its parameters where one is trained, and by its input where that depends on a trained
/// one.
struct NodeCost {
  std::string name;
  std::string op;
  Shape shape;
  std::int64_t parameters;
  double forward_flops, training_flops;
};
std::vector<NodeCost> costs(const Graph& graph);

}  // namespace facet::program
