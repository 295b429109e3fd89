#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/loss.h"
#include "lowering/lowering.h"
#include "optim/gradient_policy.h"
#include "program/compiled.h"
#include "program/parameter_store.h"
#include "program/passes.h"
#include "program/program.h"

namespace facet::program {

/// The processes with which a program exchanges data; null: it has none.
comm::Communicator* communicator_of(const ProgramOptions& options);

/// Walks the nodes forward, then backward, and lets each op emit its instructions; the gradient policy says what
/// happens to the gradients.
class Compiler final : public lowering::Lowering, private optim::StepBuilder {
 public:
  /// @param store the parameters in memory; null: only plan() is called.
  /// @param policy in training and gradients mode.
  Compiler(const Graph& graph, Parameters::State* store, const ProgramOptions& options, optim::GradientPolicy* policy,
           TuningRecord& tuning_record);

  /// @param prepared provides the memory of what is computed from parameters once for many runs.
  /// @throws Error naming the node or parameter that cannot be compiled, and the precision.
  Compiled compile(PreparedMemory& prepared);
  /// Lowers the graph and returns the layouts in which it computes and reads the trained parameters.
  /// @throws Error as compile() does.
  LayoutPlan plan();

  std::int64_t batch() const override { return options_.batch; }
  onednn::Type activation_type() const override;
  bool training() const override { return options_.mode != Mode::inference; }
  int input_count() const override;
  onednn::Dims input_dims(int input) const override;
  onednn::Dims output_dims() const override;
  int node() const override { return node_; }
  std::uint64_t seed() const override { return options_.seed; }
  int choose(const std::string& key, const std::vector<std::string>& candidates,
             const std::function<double(int, double)>& seconds) override;

  std::optional<onednn::Layout> input_layout(int input) const override;
  lowering::Tensor input(int input) override;
  lowering::Tensor input(int input, const onednn::Layout& wanted) override;
  bool is_image(int input) const override;
  lowering::Tensor parameter(int parameter, const onednn::Layout& wanted) override;
  lowering::Tensor make_from_parameters(std::string_view part, lowering::InstructionKind kind, std::string_view name,
                                        std::vector<lowering::Tensor> parameters, const onednn::Layout& layout,
                                        lowering::Kernel kernel) override;
  lowering::Tensor reorder_from_parameters(const lowering::Tensor& made, const onednn::Layout& wanted) override;
  lowering::Tensor statistic(int parameter) override;
  lowering::Tensor make_output(const onednn::Layout& layout) override;
  void set_output(const lowering::Tensor& tensor) override;

  bool wants_gradient(int input) const override;
  bool wants_parameter_gradient(int parameter) const override;
  lowering::Tensor output_gradient() override;
  lowering::Tensor output_gradient(const onednn::Layout& wanted) override;
  void add_input_gradient(int input, const lowering::Tensor& gradient) override;
  lowering::Tensor input_gradient(int input) const override;
  void set_input_gradient(int input, const lowering::Tensor& sum) override;
  void set_parameter_gradient(int parameter, const lowering::Tensor& gradient) override;

  lowering::Tensor make(const onednn::Layout& layout) override;
  void emit(std::string_view part, lowering::InstructionKind kind, const dnnl::primitive_desc_base& descriptor,
            const dnnl::primitive& primitive, std::vector<std::pair<int, lowering::Tensor>> arguments) override;
  void emit(std::string_view part, lowering::InstructionKind kind, std::string_view name,
            std::vector<lowering::Tensor> operands, lowering::Kernel kernel) override;
  void mark_recomputable() override;
  void mark_collective() override { out_.instructions.back().is_collective = true; }
  comm::Communicator* synchronized() const override;
  int head() const override;
  const kernels::LossRule& loss_rule() const override;
  void set_head_tensors(const lowering::Tensor& logits, const lowering::Tensor& probabilities) override;

 private:
  const Node& current() const { return nodes_.nodes[node_]; }
  onednn::Dims dims_of_value(int value) const;
  /// Runs `function`; turns its exceptions into an Error that names `what` and the precision.
  void naming(std::string_view what, const std::function<void()>& function) const;
  /// Whether the updates of a trained parameter are to write a bf16 copy, see LayoutPlan.
  bool wants_bf16_copy(const LayoutPlan::Entry& entry) const;
  void lower_forward();
  void lower_backward();
  lowering::Tensor value(int value);
  lowering::Tensor emit_input(const onednn::Layout& wanted);
  lowering::Tensor convert(const lowering::Tensor& tensor, const onednn::Layout& wanted);
  lowering::Tensor convert_order(const lowering::Tensor& tensor, const onednn::Layout& wanted);
  const Parameter& parameter(int index) const override { return list_[static_cast<std::size_t>(index)]; }
  lowering::Tensor in_stored_order(int parameter, const lowering::Tensor& gradient) override;
  lowering::Tensor stored_gradient(int parameter) override;
  bool compute_in_store(int parameter, const lowering::Tensor& gradient) override;
  std::vector<optim::StoredPart> stored_parts() const override;
  const base::PageBuffer& gradient_range() const override { return store_->gradients; }
  const base::PageBuffer& value_range() const override { return store_->values; }
  const base::PageBuffer& bf16_range() const override { return store_->bf16; }
  lowering::Tensor stored_gradients(int first, int last) override;
  void keep(int parameter, const lowering::Tensor& gradient) override;
  lowering::Instruction update(int parameter, const lowering::Tensor& gradient) override;
  lowering::Instruction update(int parameter, const lowering::Tensor& gradient, const comm::Part& elements,
                               std::span<const double> sums) override;
  std::size_t sum_count() const override { return options_.optimizer->sum_count(); }
  lowering::Instruction sum_for_update(int parameter, const lowering::Tensor& gradient, const comm::Part& elements,
                                       std::span<double> sums) override;
  /// An instruction that reads and writes elements of a parameter as an update does; it has no kernel yet.
  lowering::Instruction update_instruction(int parameter, const lowering::Tensor& gradient, std::string_view part);
  struct Updated;
  Updated updated(int parameter, const comm::Part& elements) const;
  void writes(int parameter) override { out_.written.push_back(parameter); }
  void append(lowering::Instruction instruction) override { out_.instructions.push_back(std::move(instruction)); }
  void defer(int parameter, const lowering::Tensor& gradient) override { deferred_.emplace_back(parameter, gradient); }
  const std::vector<std::pair<int, lowering::Tensor>>& deferred() const override { return deferred_; }
  /// Sums what forward has found over all processes, so that backward knows the denominators of the losses' means.
  void emit_exchange_after_forward();
  void emit_loss_sums(comm::Communicator& communicator);
  /// Averages what forward has written to statistic(), so that it stays the same in all processes.
  void emit_average_over_ranks(comm::Communicator& communicator);
  /// Appends an instruction of kind communication that all processes run.
  void append_collective(std::string name, std::string_view implementation, std::vector<lowering::Tensor> operands,
                         lowering::Kernel kernel);
  /// Updates the average of what the updates don't write: running statistics, and weights that stay as they are.
  void emit_average_of_statistics();
  /// Makes a tensor that keeps its content from run to run. If only the prologue uses it, place_held() moves it to the
  /// arena.
  /// @param made_of see PreparedMemory::get.
  lowering::Tensor make_held(const onednn::Layout& layout, std::string made_of = {});
  void place_held(PreparedMemory& prepared);
  /// Describes what an instruction computes from parameters (Buffer::made_of).
  std::string made_of(const std::string& instruction, const std::vector<lowering::Tensor>& operands) const;
  /// Makes a tensor in memory of the parameter store.
  lowering::Tensor make_fixed(const void* memory, std::size_t bytes, const onednn::Layout& layout);
  lowering::Tensor make_fixed(const void* memory, const onednn::Layout& layout);
  const StoredParameter& stored(int parameter) const { return store_->stored[static_cast<std::size_t>(parameter)]; }
  /// Describes what the current node computes, independently of the implementation.
  std::string work() const;
  /// Whether tensors computed from the current node's parameters keep their content from run to run.
  bool is_constant() const { return !training() || !needs_gradient_[node_]; }
  /// Begins an instruction of the current node: sets its name, kind, work and candidate.
  lowering::Instruction node_instruction(std::string_view part, lowering::InstructionKind kind) const;
  /// FLOPs of an instruction of this kind; 0 unless it multiplies by the weights of a convolution or linear layer.
  double flops(lowering::InstructionKind kind) const;
  lowering::Instruction kernel_instruction(std::string_view part, lowering::InstructionKind kind, std::string_view name,
                                           std::vector<lowering::Tensor> operands, lowering::Kernel kernel) const;
  lowering::Instruction reorder_instruction(std::string name, const lowering::Tensor& from, const lowering::Tensor& to);
  void add_scratch(const dnnl::primitive_desc_base& descriptor, lowering::Instruction& instruction);
  /// Whether a parameter doesn't change from run to run, so that what is computed from it is computed once.
  bool is_constant(int parameter) const;
  /// Whether the program reads a parameter's bf16 copy and never its f32 values, of which a process that trains with
  /// others has the newest in its own parts alone.
  bool reads_copy(int parameter) const;
  /// A parameter as the store holds it, if that is the requested layout: its f32 values or its bf16 copy.
  std::optional<lowering::Tensor> read_in_place(int parameter, const onednn::Layout& wanted);
  /// A copy of a parameter in another layout.
  lowering::Tensor read_reordered(int parameter, const onednn::Layout& wanted);

  const Graph& graph_;
  const std::vector<Parameter>& list_;
  Parameters::State* store_;
  const ProgramOptions& options_;
  optim::GradientPolicy* policy_;
  TuningRecord& tuning_record_;
  FusedNodes nodes_;
  int node_ = 0;
  Compiled out_;
  std::size_t forward_instructions_ = 0;
  std::vector<lowering::Tensor> held_;

  std::vector<bool> needs_gradient_;                        // by value
  std::vector<lowering::Tensor> values_;                    // by value
  std::vector<lowering::Tensor> gradients_;                 // by value: the sum of its readers' gradients so far
  std::map<int, std::vector<lowering::Tensor>> converted_;  // by buffer: its copies in other layouts
  std::vector<lowering::Backward> backward_;                // by node
  std::map<int, std::vector<lowering::Tensor>> read_;       // by parameter: the tensors that instructions read it from
  std::vector<std::string> chosen_;                         // by node: the chosen candidate, if there are several
  std::vector<std::pair<int, lowering::Tensor>> statistics_;  // parameters that forward writes
  std::vector<std::pair<int, lowering::Tensor>> deferred_;    // parameters and gradients, see StepBuilder::defer
};

}  // namespace facet::program
