#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/histogram.h"
#include "kernels/loss.h"
#include "onednn/onednn.h"

namespace facet::lowering {

/// What an instruction does, for profiles.
enum class InstructionKind : std::uint8_t {
  convolution_forward,
  convolution_backward_data,
  convolution_backward_weights,
  normalization,
  pooling,
  linear,
  elementwise,
  loss,
  update,
  communication,
  reorder,
  input
};

/// "convolution forward" and so on.
std::string_view to_string(InstructionKind kind);

/// A buffer and the layout of its content. The compiler decides where the buffer lies; it lives from the first
/// instruction that names it to the last.
struct Tensor {
  int buffer = -1;
  onednn::Layout layout;

  explicit operator bool() const { return buffer >= 0; }
  /// The number of f32 elements that its memory holds, gaps included.
  std::int64_t float_count() const { return static_cast<std::int64_t>(layout.get_size() / sizeof(float)); }
};

/// What a step's updates have used and made, of each parameter that it trains: in several processes, of the part that
/// this process updates. The histograms count the gaps of the layouts in which parameters are stored too, as 0.
struct UpdateHistograms {
  std::vector<base::Histogram> gradients;  ///< by parameter: as the update rule takes them, clipped for example
  std::vector<base::Histogram> weights;    ///< by parameter: after the update
};

/// The input and the progress of a run.
struct RunState {
  const std::uint8_t* pixels = nullptr;              ///< {batch, height, width, 3}
  std::array<float, 3> mean{}, std{1, 1, 1};         ///< of pixels / 255, by channel: the program's, in every run
  const std::int32_t* labels = nullptr;              ///< {heads, batch}
  std::span<const std::vector<float>> targets = {};  ///< by head: {batch, outputs}, or empty; empty: none for any head
  std::int64_t step = 1;
  std::int64_t first_image = 0;  ///< index of the batch's first image in its step
  std::int64_t images = 0;       ///< of the batch that this process has; 0 where its share of the last batch is empty
  std::span<const std::int64_t> rank_images = {};  ///< `images` of each process, by rank
  std::int64_t all_images = 0;                     ///< their sum
  bool adds_gradients = false;                     ///< gradients are added to those of the step's earlier batches
  bool updates = true;                             ///< the step ends with this batch
  float learning_rate = 0;
  std::optional<double> momentum;          ///< instead of the update rule's own
  UpdateHistograms* histograms = nullptr;  ///< filled by the updates; null: none are wanted
  double squared_norm = 0;                 ///< of the gradients so far, where they are to be clipped
  float gradient_scale = 1;
  std::vector<kernels::LossSums> losses;  ///< by head, filled by the loss instructions; then of all processes
  std::exception_ptr failure;  ///< what an instruction of this run has thrown, see Instruction::is_collective
};

/// A kernel of ours; `operands` are the addresses of the instruction's tensors in their order.
using Kernel = std::function<void(std::span<void* const> operands, RunState& state)>;

/// Seconds that a kernel takes, see onednn::measure.
double measure(const Kernel& kernel, const std::vector<onednn::Layout>& operands, double best);

/// One entry of a compiled program: a oneDNN primitive and its arguments, or a kernel of ours and its operands.
struct Instruction {
  std::string name;
  InstructionKind kind = InstructionKind::elementwise;
  std::string implementation;
  std::vector<Tensor> operands;
  std::vector<int> arguments;  ///< DNNL_ARG_... of each operand; empty for a kernel
  dnnl::primitive primitive;
  Kernel kernel;
  bool recomputable = false;  ///< see Lowering::mark_recomputable
  /// All processes run the instruction at the same place of the step, so that none waits for another: also one whose
  /// share of the batch is empty (RunState::images is 0), which adds nothing to a sum, and one whose earlier
  /// instruction has failed. Neither has anything meaningful in its arena. Where a process is alone, there is none.
  bool is_collective = false;
  std::string work = {};       ///< what is computed, for example "convolution 64x56x56 by 64x64x3x3 to 64x56x56"
  std::string candidate = {};  ///< the chosen one of several ways to compute it; empty: there is no choice
  double flops = 0;            ///< of a convolution or linear layer, two per multiply-add, as of the direct algorithm
};

}  // namespace facet::lowering
