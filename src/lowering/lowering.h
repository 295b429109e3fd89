#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/op.h"
#include "lowering/step.h"

namespace facet::lowering {

/// What an op writes its steps to: the compiler, as one node sees it. Inputs and parameters are counted from 0 in the
/// node's order. Shapes here have the batch in front.
class Lowering {
 public:
  virtual ~Lowering() = default;

  // --- facts ---------------------------------------------------------------------------------------------------------

  virtual std::int64_t batch() const = 0;
  /// f32 or bf16: the type of activations and of the weights that meet them.
  virtual onednn::Type activation_type() const = 0;
  /// Batch statistics and dropout; otherwise running statistics and none.
  virtual bool training() const = 0;
  virtual int input_count() const = 0;
  virtual onednn::Dims input_dims(int input) const = 0;
  virtual onednn::Dims output_dims() const = 0;
  /// The node's number: tells the random streams of a graph's nodes apart.
  virtual int node() const = 0;
  /// Seed of the run's dropout.
  virtual std::uint64_t seed() const = 0;

  // --- choosing ------------------------------------------------------------------------------------------------------

  /// Which of `candidates` to use: the one that was recorded under `key`; else, tuning, the one for which
  /// `seconds(index, best so far)` is least; else the first. `key` is completed by batch, activation type, mode and
  /// threads.
  virtual int choose(const std::string& key, const std::vector<std::string>& candidates,
                     const std::function<double(int, double)>& seconds) = 0;

  // --- forward -------------------------------------------------------------------------------------------------------

  /// How an input lies (it may be the beginning of wider rows); nothing yet for the graph's image, which takes the
  /// order that its first reader asks for.
  virtual std::optional<onednn::Layout> input_layout(int input) const = 0;
  /// As it lies, but without gaps.
  virtual Tensor input(int input) = 0;
  /// In another order or type: a reorder step where it differs.
  virtual Tensor input(int input, const onednn::Layout& wanted) = 0;
  /// Whether an input is the graph's image.
  virtual bool is_image(int input) const = 0;
  /// The graph's image with blocks of pixels as positions, {batch, channels of a block, rows, columns} in channels-last
  /// order, written as such from the pixels.
  virtual Tensor image_in_blocks(const kernels::PixelBlocks& blocks) = 0;
  /// A parameter for reading, in this order and type.
  virtual Tensor parameter(int parameter, const onednn::Layout& wanted) = 0;
  /// What a kernel makes of parameters (operands: them, in order, and the result): in training in each run, in
  /// inference once, until they change.
  virtual Tensor make_from_parameters(std::string_view part, StepKind kind, std::string_view name,
                                      std::vector<Tensor> parameters, const onednn::Layout& layout, Kernel kernel) = 0;
  /// What make_from_parameters gave, in another order or type, as often as that.
  virtual Tensor reorder_from_parameters(const Tensor& made, const onednn::Layout& wanted) = 0;
  /// A parameter that isn't trained, as it is stored (plain): a step may write it.
  virtual Tensor statistic(int parameter) = 0;
  /// Concats that each begin with the one before lie in one tensor. Its channels, for one of them; else the output's.
  virtual std::int64_t storage_channels() const = 0;
  /// Whether the output lies in the tensor that input 0 is the beginning of, of storage_channels.
  virtual bool continues_input() const = 0;
  virtual Tensor make_output(const onednn::Layout& layout) = 0;
  /// The output is this tensor: no step of its own.
  virtual void set_output(const Tensor& tensor) = 0;

  // --- backward ------------------------------------------------------------------------------------------------------

  virtual bool wants_gradient(int input) const = 0;
  virtual bool wants_parameter_gradient(int parameter) const = 0;
  /// Gradient of the loss by the output, summed over its readers. Of what begins a concat it may be the beginning of
  /// wider rows.
  virtual Tensor output_gradient() = 0;
  virtual Tensor output_gradient(const onednn::Layout& wanted) = 0;
  /// Adds a tensor, written by steps emitted before, to the gradient of an input. Not to be written after.
  virtual void add_input_gradient(int input, const Tensor& gradient) = 0;
  /// What other readers gave an input so far, for a step that adds its own part in passing; nothing where they gave
  /// nothing. It isn't to be written.
  virtual Tensor input_gradient(int input) const = 0;
  /// Gives their sum, instead.
  virtual void set_input_gradient(int input, const Tensor& sum) = 0;
  /// Gives a parameter's gradient. Steps that read the parameter must have been emitted: in training its update
  /// follows.
  virtual void set_parameter_gradient(int parameter, const Tensor& gradient) = 0;

  // --- memory and steps ----------------------------------------------------------------------------------------------

  virtual Tensor make(const onednn::Layout& layout) = 0;
  /// Appends a primitive; `part` ("forward") is added to the node's name. Scratch memory is given to it.
  virtual void emit(std::string_view part, StepKind kind, const dnnl::primitive_desc_base& descriptor,
                    const dnnl::primitive& primitive, std::vector<std::pair<int, Tensor>> arguments) = 0;
  /// Appends a kernel of ours; profiles call it "facet:" and `name`.
  virtual void emit(std::string_view part, StepKind kind, std::string_view name, std::vector<Tensor> operands,
                    Kernel kernel) = 0;
  /// Lets the step emitted last be run once more in backward (ProgramOptions::save_memory) where that costs less than
  /// to keep what it wrote. It must be cheap, write only tensors that it is the first to name, and read only tensors
  /// written before, parameters and the run's state.
  virtual void mark_recomputable() = 0;
  /// This head's index, for a loss: where its labels and sums are.
  virtual int head() const = 0;
  virtual const kernels::LossRule& loss_rule() const = 0;
  /// Logits and probabilities that a run leaves to be looked at, f32 {batch, classes}.
  virtual void set_head_tensors(const Tensor& logits, const Tensor& probabilities) = 0;
};

/// Emits a node's backward steps. Made by its forward, of which it holds what it needs.
using Backward = std::function<void(Lowering&)>;

/// An op that can be computed.
class LowerableOp : public Op {
 public:
  /// Emits the forward steps; returns how to emit the backward ones.
  virtual Backward lower(Lowering& lowering) const = 0;
  /// FLOPs (two a multiply-add) of one image forward. Without the batch in the shapes.
  virtual double flops(const std::vector<Shape>& inputs, const Shape& output) const = 0;
  /// Whether backward costs forward's FLOPs once by input and once by weights (convolution, linear); otherwise once.
  virtual bool has_weights() const { return false; }
};

}  // namespace facet::lowering
