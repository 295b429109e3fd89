#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/loss.h"
#include "kernels/pixels.h"
#include "lowering/lowering.h"
#include "program/compiled.h"
#include "program/parameter_store.h"
#include "program/passes.h"
#include "program/program.h"

namespace facet::program {

/// Walks the nodes forward, then backward, and lets each op emit its instructions.
class Compiler final : public lowering::Lowering {
 public:
  Compiler(const Graph& graph, Parameters::State& parameters, const ProgramOptions& options,
           TuningRecord& tuning_record, PreparedMemory& prepared);

  /// @throws Error naming the node or parameter that cannot be compiled, and the precision.
  Compiled compile();

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
  lowering::Tensor image_in_blocks(const kernels::PixelBlocks& blocks) override;
  lowering::Tensor parameter(int parameter, const onednn::Layout& wanted) override;
  lowering::Tensor make_from_parameters(std::string_view part, lowering::InstructionKind kind, std::string_view name,
                                        std::vector<lowering::Tensor> parameters, const onednn::Layout& layout,
                                        lowering::Kernel kernel) override;
  lowering::Tensor reorder_from_parameters(const lowering::Tensor& made, const onednn::Layout& wanted) override;
  lowering::Tensor statistic(int parameter) override;
  std::int64_t storage_channels() const override;
  bool continues_input() const override;
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
  int head() const override;
  const kernels::LossRule& loss_rule() const override;
  void set_head_tensors(const lowering::Tensor& logits, const lowering::Tensor& probabilities) override;

 private:
  const Node& current() const { return nodes_.nodes[node_]; }
  onednn::Dims dims_of_value(int value) const;
  /// Runs `function`; turns its exceptions into an Error that names `what` and the precision.
  void naming(std::string_view what, const std::function<void()>& function) const;
  void lower_forward();
  void lower_backward();
  lowering::Tensor value(int value);
  lowering::Tensor emit_input(const onednn::Layout& wanted);
  lowering::Tensor emit_input(const onednn::Layout& layout, std::string implementation, lowering::Kernel kernel);
  lowering::Tensor convert(const lowering::Tensor& tensor, const onednn::Layout& wanted);
  lowering::Tensor convert_order(const lowering::Tensor& tensor, const onednn::Layout& wanted);
  /// Emits a parameter's update at once, unless the update depends on other gradients (clipping) or other batches
  /// (accumulation): then it waits for emit_waiting_updates().
  void take_gradient(int parameter, const lowering::Tensor& gradient);
  lowering::Tensor emit_accumulation(int parameter, const lowering::Tensor& gradient);
  void emit_norm(int parameter, const lowering::Tensor& gradient);
  void emit_clipping();
  void emit_waiting_updates();
  void emit_update(int parameter, const lowering::Tensor& gradient);
  /// Updates the average of what the updates don't write: running statistics, and weights that stay as they are.
  void emit_average_of_statistics();
  void keep_gradient(int parameter, const lowering::Tensor& gradient);
  /// Makes a tensor that keeps its content from run to run. If only the prologue uses it, place_held() moves it to the
  /// arena.
  /// @param made_of see PreparedMemory::get.
  lowering::Tensor make_held(const onednn::Layout& layout, std::string made_of = {});
  void place_held();
  /// Describes what an instruction computes from parameters (Buffer::made_of).
  std::string made_of(const std::string& instruction, const std::vector<lowering::Tensor>& operands) const;
  /// Makes a tensor in memory of a parameter.
  lowering::Tensor make_fixed(const base::PageBuffer& memory, const onednn::Layout& layout);
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
  /// Lets an instruction read the bf16 copy that the update writes beside the master, if that has the requested layout.
  /// Returns whether it has.
  bool place_rounded(const PreparedParameter& prepared);
  void place(const PreparedParameter& prepared);
  void place_prepared_parameters();

  const Graph& graph_;
  Parameters::State& parameters_;
  const ProgramOptions& options_;
  TuningRecord& tuning_record_;
  PreparedMemory& prepared_;
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
  std::vector<bool> updated_;                               // by parameter: whether its update was emitted
  std::vector<std::string> chosen_;                         // by node: the chosen candidate, if there are several
  std::vector<std::pair<int, lowering::Tensor>> waiting_;   // parameters and gradients whose updates come last
};

}  // namespace facet::program
