#include "facet/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/output_file.h"
#include "cli/shared_options.h"
#include "cli/terminal.h"
#include "facet/error.h"
#include "facet/models.h"
#include "facet/precision.h"

namespace facet::app {
namespace {

/// The model and the training that the command describes.
struct Question {
  std::string model, shape;
  ImageSize size = 224;
  std::int64_t batch;
  Precision precision;
  bool save_memory;
};

std::string primitives_text(const std::vector<PlannedInstruction>& instructions) {
  Table table({{"instruction"}, {"kind"}, {"primitive"}});
  for (const PlannedInstruction& instruction : instructions) {
    table.add({instruction.name, instruction.kind, instruction.primitive});
  }
  return "\n" + table.text();
}

std::string summary_text(const Question& question, const Graph& graph, const std::vector<NodeCost>& layers,
                         const PlannedMemory& memory) {
  Table table(
      {{"layer"}, {"op"}, {"output", true}, {"parameters", true}, {"MFLOP forward", true}, {"MFLOP training", true}});
  double forward = 0, training = 0;
  const auto megaflops = [](double flops) {
    return flops == 0 ? std::string("-") : fmt::format("{:.2f}", flops / 1e6);
  };
  for (const NodeCost& layer : layers) {
    forward += layer.forward_flops;
    training += layer.training_flops;
    table.add({layer.name, layer.op, to_string(layer.shape), layer.parameters == 0 ? "-" : grouped(layer.parameters),
               megaflops(layer.forward_flops), megaflops(layer.training_flops)});
  }
  std::string text = fmt::format("{} at {}\n\n{}\n", question.model, to_string(question.size), table.text());
  text += fmt::format("parameters   {}{}\n", grouped(graph.trainable_count()), frozen_text(graph));
  text += fmt::format("one image    {:.3f} GFLOP forward, {:.3f} GFLOP in training (a multiply-add is two)\n",
                      forward / 1e9, training / 1e9);
  const auto amount = [](std::size_t bytes) { return bytes_text(static_cast<double>(bytes)); };
  text += fmt::format("memory       {} to train a batch of {} in {}:\n", amount(memory.total()), question.batch,
                      to_string(question.precision));
  text += fmt::format("             {} for activations, gradients and scratch\n", amount(memory.activations));
  text += fmt::format("             {} for parameters and the optimiser's state\n", amount(memory.parameters));
  if (memory.prepared > 0) text += fmt::format("             {} for prepared weights\n", amount(memory.prepared));
  return text;
}

std::string summary_json(const Question& question, const Graph& graph, const std::vector<NodeCost>& layers,
                         const PlannedMemory& memory, const std::vector<PlannedInstruction>& instructions) {
  nlohmann::ordered_json json;
  json["model"] = question.model;
  if (!question.shape.empty()) json["shape"] = nlohmann::ordered_json::parse(question.shape);
  const ImageSize size = question.size;
  json["size"] =
      size.height == size.width ? nlohmann::ordered_json(size.height) : nlohmann::ordered_json(to_string(size));
  json["batch"] = question.batch;
  json["precision"] = to_string(question.precision);
  json["save_memory"] = question.save_memory;
  json["parameters"] = graph.trainable_count();
  json["frozen"] = graph.frozen_count();
  double forward = 0, training = 0;
  for (const NodeCost& layer : layers) {
    forward += layer.forward_flops;
    training += layer.training_flops;
  }
  json["forward_flops"] = std::llround(forward);
  json["training_flops"] = std::llround(training);
  json["planned_bytes"] = memory.total();
  json["planned"] = {
      {"activations", memory.activations}, {"parameters", memory.parameters}, {"prepared", memory.prepared}};
  for (const NodeCost& layer : layers) {
    json["layers"].push_back({{"name", layer.name},
                              {"op", layer.op},
                              {"output", layer.shape},
                              {"parameters", layer.parameters},
                              {"forward_flops", std::llround(layer.forward_flops)},
                              {"training_flops", std::llround(layer.training_flops)}});
  }
  for (const PlannedInstruction& instruction : instructions) {
    json["primitives"].push_back(
        {{"instruction", instruction.name}, {"kind", instruction.kind}, {"primitive", instruction.primitive}});
  }
  return json.dump(2) + '\n';
}

int run_summary(Options& options) {
  require_no_arguments(options);
  Question question;
  question.size = read_size(options);
  question.batch = options.integer("batch", 1, 65536);
  question.precision = options.one_of("precision", {"f32", "bf16"}) == "bf16" ? Precision::bf16 : Precision::f32;
  question.save_memory = options.on("save-memory");
  std::vector<Head> heads = read_class_counts(options);
  set_ordinal(options, heads);
  question.shape = shape_for(options, read_shape(options), heads);
  Graph graph = build_requested_model(options, {.heads = heads, .size = question.size}, question.shape);
  freeze_requested(options, graph);
  question.model = options.text("model");
  OutputFile file(options.text("json"));

  require_precision(question.precision);
  const std::vector<NodeCost> layers = costs(graph);
  const TrainingPlan plan =
      plan_training(graph, question.batch, question.precision, question.save_memory, read_tuning_cache(options));
  const std::vector<PlannedInstruction> instructions =
      options.on("primitives") ? plan.instructions : std::vector<PlannedInstruction>();
  if (!file.is_standard_output()) {
    print_out("{}", summary_text(question, graph, layers, plan.memory));
    if (!instructions.empty()) print_out("{}", primitives_text(instructions));
  }
  if (file.wanted()) file.write(summary_json(question, graph, layers, plan.memory, instructions));
  file.commit();
  return 0;
}

}  // namespace

Command summary_command() {
  Command command;
  command.name = "summary";
  command.summary = "show a model: layers, parameters, FLOPs, memory";
  command.usage = "[options]";
  command.description =
      "Lists a model's layers with the shapes of their outputs, their parameters and their FLOPs for one image, "
      "forward and in training. It also shows the memory for training a batch with Adam and, with --primitives, the "
      "primitive of each instruction. Primitives are those of the tuning cache, and oneDNN's defaults where it has "
      "none.";
  command.groups = {
      {"Model", {model_option(), class_counts_option(), ordinal_option(), size_option()}},
      reference_shape_options(),
      {"Training",
       {{.name = "batch", .argument = "N", .help = "batch size, in images", .fallback = "64"},
        {.name = "precision", .argument = "f32|bf16", .help = "type of activations and products", .fallback = "f32"},
        {.name = "primitives",
         .argument = "",
         .help = "also list the instructions of training a batch, each with its primitive as ONEDNN_VERBOSE names it; "
                 "facet's own kernels are called facet:NAME",
         .value = Option::Value::none},
        training_option("freeze"),
        training_option("save-memory"),
        training_option("tuning-cache")}},
      {"Results",
       {{.name = "json",
         .argument = "FILE",
         .help = "write JSON: to FILE in addition to the table (also `--json FILE` where FILE ends in .json), or "
                 "without FILE to standard output instead of the table",
         .value = Option::Value::optional}}}};
  command.examples = {{"", "facet summary"},
                      {"", "facet summary --heads mood=5,glasses=2 --size 128 --batch 32 --json"},
                      {"", "facet summary --stem 32 --blocks 64x1,128x2 --hidden 128 --dropout 0.3 --size 96"}};
  command.run = run_summary;
  return command;
}

}  // namespace facet::app
