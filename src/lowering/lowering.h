#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/op.h"
#include "kernels/loss.h"
#include "lowering/instruction.h"

namespace facet::comm {
class Communicator;
}

namespace facet::lowering {

/// The interface through which an op emits its instructions: the compiler, as one node sees it. Inputs and parameters
/// are counted from 0 in the node's order. The first extent of a shape is the batch size.
class Lowering {
 public:
  virtual ~Lowering() = default;

  // --- facts ---------------------------------------------------------------------------------------------------------

  virtual std::int64_t batch() const = 0;
  /// f32 or bf16: the type of activations and of the weights that are multiplied with them.
  virtual onednn::Type activation_type() const = 0;
  /// True: ops use batch statistics and dropout. False: they use running statistics and no dropout.
  virtual bool training() const = 0;
  virtual int input_count() const = 0;
  virtual onednn::Dims input_dims(int input) const = 0;
  virtual onednn::Dims output_dims() const = 0;
  /// The node's number, which distinguishes the random streams of a graph's nodes.
  virtual int node() const = 0;
  /// Seed of the run's dropout.
  virtual std::uint64_t seed() const = 0;

  /// The processes over all of whose images batch normalisation computes its statistics; null: over those of this one.
  virtual comm::Communicator* synchronized() const = 0;

  // --- choosing ------------------------------------------------------------------------------------------------------

  /// The index of the candidate to use: the one that was recorded under `key`; else, when tuning, the one for which
  /// `seconds(index, best so far)` is least; else the first. The batch size, activation type, mode and number of
  /// threads are appended to `key`.
  virtual int choose(const std::string& key, const std::vector<std::string>& candidates,
                     const std::function<double(int, double)>& seconds) = 0;

  // --- forward -------------------------------------------------------------------------------------------------------

  /// The layout of an input, which may be the beginning of wider rows. It is empty for the graph's image until its
  /// first reader requests a layout.
  virtual std::optional<onednn::Layout> input_layout(int input) const = 0;
  /// The input in its present layout, but without gaps.
  virtual Tensor input(int input) = 0;
  /// The input in another order or type; emits a reorder where it differs.
  virtual Tensor input(int input, const onednn::Layout& wanted) = 0;
  /// Whether an input is the graph's image, which a kernel may also read itself (RunState::pixels).
  virtual bool is_image(int input) const = 0;
  /// A parameter for reading, in this order and type.
  virtual Tensor parameter(int parameter, const onednn::Layout& wanted) = 0;
  /// A tensor that a kernel computes from parameters; its operands are the parameters, in order, and the result. The
  /// kernel runs in each run if the node's value depends on a trained parameter, otherwise (and in inference) only
  /// after the parameters have changed.
  virtual Tensor make_from_parameters(std::string_view part, InstructionKind kind, std::string_view name,
                                      std::vector<Tensor> parameters, const onednn::Layout& layout, Kernel kernel) = 0;
  /// Reorders the result of make_from_parameters to another order or type; runs as often as that.
  virtual Tensor reorder_from_parameters(const Tensor& made, const onednn::Layout& wanted) = 0;
  /// A parameter that isn't trained, as it is stored (plain); instructions may write it.
  virtual Tensor statistic(int parameter) = 0;
  virtual Tensor make_output(const onednn::Layout& layout) = 0;
  /// Makes an existing tensor the output; no instruction is needed.
  virtual void set_output(const Tensor& tensor) = 0;

  // --- backward ------------------------------------------------------------------------------------------------------

  virtual bool wants_gradient(int input) const = 0;
  virtual bool wants_parameter_gradient(int parameter) const = 0;
  /// The gradient of the loss with respect to the output, summed over the output's readers. If the output is the
  /// beginning of a concat, the gradient may be the beginning of wider rows.
  virtual Tensor output_gradient() = 0;
  virtual Tensor output_gradient(const onednn::Layout& wanted) = 0;
  /// Adds a tensor, written by instructions emitted before, to the gradient of an input. The tensor must not be written
  /// afterwards.
  virtual void add_input_gradient(int input, const Tensor& gradient) = 0;
  /// The sum of the gradients from other readers of an input so far, for an instruction that adds its own part itself;
  /// empty if there are none. It must not be written.
  virtual Tensor input_gradient(int input) const = 0;
  /// Replaces the gradient of an input by `sum`, which includes input_gradient().
  virtual void set_input_gradient(int input, const Tensor& sum) = 0;
  /// Sets a parameter's gradient. Instructions that read the parameter must have been emitted before, because in
  /// training the parameter's update may follow at once.
  virtual void set_parameter_gradient(int parameter, const Tensor& gradient) = 0;

  // --- memory and instructions ---------------------------------------------------------------------------------------

  virtual Tensor make(const onednn::Layout& layout) = 0;
  /// Appends a primitive, and its scratch memory to its arguments; `part` ("forward") is added to the node's name.
  virtual void emit(std::string_view part, InstructionKind kind, const dnnl::primitive_desc_base& descriptor,
                    const dnnl::primitive& primitive, std::vector<std::pair<int, Tensor>> arguments) = 0;
  /// Appends a kernel of ours; profiles show it as "facet:" followed by `name`.
  virtual void emit(std::string_view part, InstructionKind kind, std::string_view name, std::vector<Tensor> operands,
                    Kernel kernel) = 0;
  /// Makes the last instruction emitted collective, see Instruction::is_collective.
  virtual void mark_collective() = 0;
  /// Allows the last instruction emitted to run again in backward (ProgramOptions::save_memory) where that saves
  /// memory. It must be cheap, write only tensors that it is the first to name, and read only tensors written before,
  /// parameters and the run's state.
  virtual void mark_recomputable() = 0;
  /// For a loss: the index of its head, by which labels and sums are found.
  virtual int head() const = 0;
  virtual const kernels::LossRule& loss_rule() const = 0;
  /// Sets the logits and probabilities, f32 {batch, classes}, that can be read after a run.
  virtual void set_head_tensors(const Tensor& logits, const Tensor& probabilities) = 0;
};

/// Emits a node's backward instructions. It is returned by the node's forward and captures what it needs of that.
using Backward = std::function<void(Lowering&)>;

/// An op that can be computed.
class LowerableOp : public graph::Op {
 public:
  /// Emits the forward instructions; returns how to emit the backward ones.
  virtual Backward lower(Lowering& lowering) const = 0;
  /// FLOPs (two per multiply-add) of one image in forward. The shapes are without the batch.
  virtual double flops(const std::vector<Shape>& inputs, const Shape& output) const = 0;
  /// Whether backward takes forward's FLOPs twice, with respect to the input and to the weights (convolution, linear);
  /// otherwise it takes them once.
  virtual bool has_weights() const { return false; }
};

}  // namespace facet::lowering
