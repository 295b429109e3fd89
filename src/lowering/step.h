#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"
#include "onednn/onednn.h"

namespace facet::lowering {

/// What a step does, for profiles.
enum class StepKind : std::uint8_t {
  convolution_forward,
  convolution_backward_data,
  convolution_backward_weights,
  normalization,
  pooling,
  linear,
  elementwise,
  loss,
  update,
  reorder,
  input
};

/// "convolution forward" and so on.
std::string_view to_string(StepKind kind);

/// A piece of memory with a meaning. The compiler decides where it lies, from the first step that names it to the last.
struct Tensor {
  int buffer = -1;
  onednn::Layout layout;

  explicit operator bool() const { return buffer >= 0; }
};

/// What differs from run to run.
struct RunState {
  const std::uint8_t* pixels = nullptr;  ///< {batch, height, width, 3}
  const std::int32_t* labels = nullptr;  ///< {heads, batch}; null: none
  std::int64_t step = 1;
  std::int64_t first_image = 0;  ///< of the batch, in its step
  bool adds_gradients = false;   ///< to those of the step's batches before this one
  bool updates = true;           ///< the step ends with this batch
  float learning_rate = 0;
  std::optional<double> momentum;  ///< instead of the update rule's own
  double squared_norm = 0;         ///< of the gradients so far, where they are to be clipped
  float gradient_scale = 1;
  std::vector<kernels::LossSums> losses;  ///< by head, filled by the loss steps
};

/// A kernel of ours: `operands` are the addresses of the step's tensors, in its order.
using Kernel = std::function<void(std::span<void* const> operands, RunState& state)>;

/// Seconds that a kernel takes: see onednn::measure.
double measure(const Kernel& kernel, const std::vector<onednn::Layout>& operands, double best);

/// One entry of a program: a oneDNN primitive and its arguments, or a kernel of ours and its operands.
struct Step {
  std::string name;
  StepKind kind = StepKind::elementwise;
  std::string implementation;
  std::vector<Tensor> operands;
  std::vector<int> arguments;  ///< DNNL_ARG_... of each operand; empty for a kernel
  dnnl::primitive primitive;
  Kernel kernel;
  bool recomputable = false;   ///< see Lowering::mark_recomputable
  std::string work = {};       ///< what is computed, by whatever means: "convolution 64x56x56 by 64x64x3x3 to 64x56x56"
  std::string candidate = {};  ///< of several ways to compute it, the one chosen; empty: there is no choice
  double flops = 0;            ///< two a multiply-add, of a convolution or linear layer; counted as of the direct sum
};

}  // namespace facet::lowering
