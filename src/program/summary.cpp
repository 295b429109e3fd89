#include "facet/summary.h"

#include <string>
#include <utility>

#include "facet/parameters.h"
#include "lowering/lowering.h"
#include "optim/optimizer.h"
#include "program/parameter_store.h"
#include "program/passes.h"
#include "program/program.h"
#include "program/tuning_record.h"

namespace facet {

std::vector<NodeCost> costs(const Graph& graph) {
  std::vector<NodeCost> result;
  const std::vector<bool> needed = program::find_needed_gradients(graph.nodes(), graph.parameters());
  for (const Node& node : graph.nodes()) {
    if (node.op == nullptr) {
      result.push_back({node.name, "input", node.shape, 0, 0, 0});
      continue;
    }
    NodeCost cost{node.name, std::string(node.op->kind()), node.shape, 0, 0, 0};
    bool by_parameter = false;
    for (const int index : node.parameters) {
      const Parameter& parameter = graph.parameters()[index];
      if (parameter.trainable) cost.parameters += element_count(parameter.shape);
      by_parameter = by_parameter || parameter.is_trained();
    }
    std::vector<Shape> inputs;
    bool by_input = false;  // whether a gradient is passed on
    for (const int input : node.inputs) {
      inputs.push_back(graph.nodes()[input].shape);
      by_input = by_input || needed[input];
    }
    const auto& op = dynamic_cast<const lowering::LowerableOp&>(*node.op);
    cost.forward_flops = op.flops(inputs, node.shape);
    const int backward_passes = op.has_weights() ? int{by_input} + int{by_parameter} : int{by_input || by_parameter};
    cost.training_flops = cost.forward_flops * (1 + backward_passes);
    result.push_back(std::move(cost));
  }
  return result;
}

TrainingPlan plan_training(const Graph& graph, std::int64_t batch, Precision precision, bool save_memory,
                           const std::filesystem::path& tuning_cache) {
  program::TuningRecord tuning_record(false);
  program::TuningCache(tuning_cache).read_into(tuning_record);
  const auto adam = optim::adam();
  program::ProgramOptions options;
  options.batch = batch;
  options.precision = precision;
  options.mode = program::Mode::training;
  options.save_memory = save_memory;
  options.optimizer = adam.get();
  Parameters parameters = program::make_parameters(graph, 0, program::plan_layouts(graph, options, tuning_record));
  const program::Program program(graph, parameters, options, tuning_record);

  TrainingPlan plan{{program.arena_bytes(), program.held_bytes(), parameters.state().bytes()}, {}};
  for (const program::InstructionInfo& instruction : program.instructions()) {
    plan.instructions.push_back(
        {instruction.name, std::string(to_string(instruction.kind)), instruction.implementation});
  }
  return plan;
}

}  // namespace facet
