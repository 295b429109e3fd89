#include <doctest/doctest.h>

#include <algorithm>

#include "facet/precision.h"
#include "program/passes.h"
#include "program/small_model.h"

namespace facet::testing {
namespace {

using program::Buffer;
using program::Compiled;

/// A program's instructions, written by hand.
class InstructionList {
 public:
  int arena(std::size_t bytes) { return add({.bytes = bytes}); }
  int parameter() { return add({.bytes = sizeof(weight_), .place = Buffer::Place::fixed, .address = &weight_}); }
  void append(std::string name, const std::vector<int>& buffers, bool recomputable = false) {
    lowering::Instruction instruction;
    instruction.name = std::move(name);
    instruction.recomputable = recomputable;
    for (const int buffer : buffers) instruction.operands.push_back({buffer, {}});
    compiled_.instructions.push_back(std::move(instruction));
  }
  /// Ends the forward pass, which consists of the instructions so far.
  void begin_backward() { forward_ = compiled_.instructions.size(); }

  std::vector<std::string> names_after_recompute() {
    program::recompute(compiled_, forward_);
    std::vector<std::string> names;
    for (const lowering::Instruction& instruction : compiled_.instructions) names.push_back(instruction.name);
    return names;
  }
  const Compiled& compiled() const { return compiled_; }

 private:
  int add(const Buffer& buffer) {
    compiled_.buffers.push_back(buffer);
    return static_cast<int>(compiled_.buffers.size()) - 1;
  }
  Compiled compiled_;
  std::size_t forward_ = 0;
  std::byte weight_{};
};

bool recomputes(const Session& session, const std::string& part = "") {
  const auto instructions = session.program().instructions();
  return std::any_of(instructions.begin(), instructions.end(), [&](const program::InstructionInfo& instruction) {
    return instruction.name.ends_with(part + ".recompute");
  });
}

Problem problem_of(Graph graph, std::int64_t batch) {
  Problem problem{std::move(graph), batch, {}, {}};
  const Shape& image = problem.graph.input_shape();
  problem.pixels = random_pixels(batch * image[1] * image[2], 1);
  problem.labels = random_labels(problem.graph, batch, 1);
  return problem;
}

Value normalised(Value x) { return relu(batch_norm(x)); }

/// Two blocks of layers that read all layers before them, as DenseNet's, each with a transition that halves the size.
Problem dense_model() {
  Graph graph;
  Value x = normalised(convolution(graph.input({3, 16, 16}), {.channels = 8}));
  for (const int block : {0, 1}) {
    std::vector<Value> features{x};
    for (int layer = 0; layer < 4; ++layer) {
      const Scope scope(graph, "layer" + std::to_string(4 * block + layer));
      const Value narrow = convolution(normalised(concat(features)), {.channels = 16, .kernel = 1, .name = "conv1"});
      features.push_back(convolution(relu(batch_norm(narrow, {.name = "bn2"})), {.channels = 8, .name = "conv2"}));
    }
    const Scope scope(graph, "transition" + std::to_string(block));
    x = average_pool(convolution(normalised(concat(features)), {.channels = 16, .kernel = 1}), {});
  }
  add_linear_head(global_average_pool(x), 5, "head");
  return problem_of(std::move(graph), 6);
}

/// Inverted residuals, as MobileNet-v2's: an expanding, a depthwise and a projecting convolution.
Problem inverted_residuals() {
  Graph graph;
  Value x = batch_norm(convolution(graph.input({3, 16, 16}), {.channels = 8}));
  for (int block = 0; block < 4; ++block) {
    const Scope scope(graph, "block" + std::to_string(block));
    Value y = relu6(batch_norm(convolution(x, {.channels = 48, .kernel = 1, .name = "expand"}), {.name = "bn1"}));
    y = relu6(batch_norm(convolution(y, {.channels = 48, .groups = 48, .name = "depthwise"}), {.name = "bn2"}));
    x = add(x, batch_norm(convolution(y, {.channels = 8, .kernel = 1, .name = "project"}), {.name = "bn3"}));
  }
  add_linear_head(global_average_pool(x), 5, "head");
  return problem_of(std::move(graph), 6);
}

/// A network in which backward needs the op's input anyway, a convolution after the op needs its output, and wide
/// layers above them set the peak of memory.
Problem below_a_peak(const std::function<Value(Value)>& op) {
  Graph graph;
  Value x = front(graph.input({3, 12, 12}), 8);
  add_linear_head(convolution(x, {.channels = 4, .kernel = 1, .name = "side"}), 3, "side_head");
  x = convolution(op(x), {.channels = 4, .kernel = 1, .name = "after"});
  x = convolution(convolution(x, {.channels = 64, .kernel = 1, .name = "wide1"}),
                  {.channels = 64, .kernel = 1, .name = "wide2"});
  add_linear_head(x, 4, "head");
  return problem_of(std::move(graph), 4);
}

void check_same_bits(const Problem& problem, Precision precision) {
  const Trained kept = train_on_poison(problem, precision, false);
  const Trained recomputed = train_on_poison(problem, precision, true);
  CHECK(recomputed.losses == kept.losses);
  CHECK(recomputed.parameters == kept.parameters);
  CHECK(recomputed.arena_bytes <= kept.arena_bytes);
}

std::vector<Precision> precisions() {
  return has_native_bf16() ? std::vector<Precision>{Precision::f32, Precision::bf16} : std::vector{Precision::f32};
}

}  // namespace

TEST_CASE("recompute: a large output of a cheap instruction is recomputed before its first reader in backward") {
  InstructionList list;
  const int x = list.arena(100), y = list.arena(1000), scratch = list.arena(50), wide = list.arena(5000);
  const int gradient = list.arena(5000), result = list.arena(100);
  list.append("x.forward", {x});
  list.append("y.forward", {x, y, scratch}, true);
  list.append("wide.forward", {y, wide});
  list.begin_backward();
  list.append("wide.backward", {wide, gradient});
  list.append("y.backward", {y, x, result});
  CHECK(list.names_after_recompute() == std::vector<std::string>{"x.forward", "y.forward", "wide.forward",
                                                                 "wide.backward", "y.recompute", "y.backward"});
  const auto& recomputed = list.compiled().instructions[4].operands;
  CHECK(recomputed[0].buffer == x);
  CHECK(recomputed[1].buffer != y);
  CHECK(recomputed[2].buffer != scratch);
  CHECK(list.compiled().buffers[static_cast<std::size_t>(recomputed[1].buffer)].bytes == 1000);
  CHECK(list.compiled().instructions[5].operands[0].buffer == recomputed[1].buffer);
  CHECK(list.compiled().instructions[2].operands[0].buffer == y);
}

TEST_CASE("recompute: outputs are kept where recomputing them is impossible or doesn't lower the peak") {
  InstructionList list;
  const int x = list.arena(100), y = list.arena(1000), wide = list.arena(5000), weight = list.parameter();
  const int gradient = list.arena(5000), result = list.arena(100), same_weight = list.parameter();
  const auto unchanged = [&] {
    const std::size_t count = list.compiled().instructions.size();
    return list.names_after_recompute().size() == count;
  };
  list.append("x.forward", {x});
  SUBCASE("the output of an instruction that isn't cheap") {
    list.append("y.forward", {x, y});
    list.append("wide.forward", {y, wide});
    list.begin_backward();
    list.append("wide.backward", {wide, gradient});
    list.append("y.backward", {y, x, result});
    CHECK(unchanged());
  }
  SUBCASE("an output that the instruction at the peak reads") {
    list.append("y.forward", {x, y}, true);
    list.begin_backward();
    list.append("y.backward", {y, x, wide});
    CHECK(unchanged());
  }
  SUBCASE("an output whose input is as large and would have to be kept instead") {
    const int as_large = list.arena(1000);
    list.append("large.forward", {x, as_large});
    list.append("y.forward", {as_large, y}, true);
    list.append("wide.forward", {y, wide});
    list.begin_backward();
    list.append("wide.backward", {wide, gradient});
    list.append("y.backward", {y, x, result});
    CHECK(unchanged());
  }
  SUBCASE("an output that depends on a parameter that is updated before") {
    list.append("y.forward", {x, weight, y}, true);
    list.append("wide.forward", {y, wide});
    list.begin_backward();
    list.append("wide.backward", {wide, gradient});
    list.append("weight.update", {gradient, same_weight});
    list.append("y.backward", {y, x, result});
    CHECK(unchanged());
  }
  SUBCASE("an output that depends on a parameter that is updated later is recomputed") {
    list.append("y.forward", {x, weight, y}, true);
    list.append("wide.forward", {y, wide});
    list.begin_backward();
    list.append("wide.backward", {wide, gradient});
    list.append("y.backward", {y, x, result});
    list.append("weight.update", {result, same_weight});
    CHECK(!unchanged());
  }
}

TEST_CASE("recompute: in a chain, each instruction reads the recomputed output of the one before it") {
  InstructionList list;
  const int x = list.arena(100), y = list.arena(1000), z = list.arena(1000), wide = list.arena(5000);
  const int gradient = list.arena(5000), result = list.arena(100);
  list.append("x.forward", {x});
  list.append("y.forward", {x, y}, true);
  list.append("z.forward", {y, z}, true);
  list.append("wide.forward", {z, wide});
  list.begin_backward();
  list.append("wide.backward", {wide, gradient});
  list.append("z.backward", {z, y, x, result});
  const std::vector<std::string> names = list.names_after_recompute();
  REQUIRE(names.size() == 8);
  CHECK(names[5] == "y.recompute");
  CHECK(names[6] == "z.recompute");
  const auto& all = list.compiled().instructions;
  CHECK(all[6].operands[0].buffer == all[5].operands[1].buffer);
  CHECK(all[7].operands[1].buffer == all[5].operands[1].buffer);
}

TEST_CASE("save_memory: training gives the same bits") {
  for (const Precision precision : precisions()) {
    CAPTURE(to_string(precision));
    check_same_bits(small_model(6), precision);
    check_same_bits(dense_model(), precision);
    check_same_bits(inverted_residuals(), precision);
  }
}

TEST_CASE("save_memory: networks of concatenations or of wide normalised layers need less than 2/3 of the memory") {
  for (const Precision precision : precisions()) {
    CAPTURE(to_string(precision));
    for (const Problem& problem : {dense_model(), inverted_residuals()}) {
      Parameters parameters(problem.graph, 1);
      TrainingSession kept(problem, parameters, precision), recomputed(problem, parameters, precision, false, 0, true);
      CHECK(3 * recomputed.session().program().arena_bytes() < 2 * kept.session().program().arena_bytes());
      CHECK(recomputes(recomputed.session()));
      CHECK(!recomputes(kept.session()));
    }
  }
}

TEST_CASE("save_memory: each cheap op gives the same bits when it is recomputed") {
  const std::vector<std::pair<std::string, std::function<Value(Value)>>> ops{
      {"relu", [](Value x) { return relu(x); }},
      {"relu6", [](Value x) { return relu6(x); }},
      {"bn", [](Value x) { return batch_norm(x); }},
      {"bn", [](Value x) { return relu(batch_norm(x)); }},
      {"bn", [](Value x) { return relu(add(batch_norm(x), x)); }},
      {"bn", [](Value x) { return max_pool(relu(batch_norm(x)), {.kernel = 3, .stride = 1}); }},
      {"concat",
       [](Value x) {
         return concat({x, x});
       }},
      {"add", [](Value x) { return add(x, x); }},
      {"max_pool", [](Value x) { return max_pool(x, {.kernel = 3, .stride = 1}); }},
      {"average_pool", [](Value x) { return average_pool(x, {.kernel = 3, .stride = 1}); }},
      {"dropout", [](Value x) { return dropout(x, 0.3F); }},
      {"alpha_dropout", [](Value x) { return alpha_dropout(x, 0.3F); }},
  };
  for (const auto& [name, op] : ops) {
    CAPTURE(name);
    const Problem problem = below_a_peak(op);
    for (const Precision precision : precisions()) {
      CAPTURE(to_string(precision));
      check_same_bits(problem, precision);
      Parameters parameters(problem.graph, 1);
      CHECK(recomputes(TrainingSession(problem, parameters, precision, false, 0, true).session(), name));
    }
  }
}

TEST_CASE("save_memory: frozen parameters are allowed, and inference is unchanged") {
  const Problem problem = with_frozen(with_frozen(dense_model(), "layer1.bn.weight"), "layer2.conv1.weight");
  check_same_bits(problem, Precision::f32);
  Parameters parameters = random_parameters(problem.graph);
  const auto inference = [&](bool save_memory) {
    return Session(problem.graph, parameters, {.batch = problem.batch, .save_memory = save_memory});
  };
  Session kept = inference(false), recomputed = inference(true);
  CHECK(recomputed.program().instructions().size() == kept.program().instructions().size());
  kept.run(problem);
  recomputed.run(problem);
  CHECK(recomputed.logits() == kept.logits());
}

TEST_CASE(
    "save_memory: a gradient program that is compiled before training computes the gradients of trained parameters") {
  const Problem problem = small_model(6);
  Parameters parameters = random_parameters(problem.graph);
  const auto gradients = [&](bool save_memory) {
    return Session(problem.graph, parameters,
                   {.batch = problem.batch, .mode = program::Mode::gradients, .save_memory = save_memory});
  };
  Session kept = gradients(false), recomputed = gradients(true);
  TrainingSession(problem, parameters).step(problem, 1);
  CHECK(kept.run(problem) == recomputed.run(problem));
  for (const Parameter& parameter : parameters.list()) {
    if (!parameter.trainable) continue;
    CAPTURE(parameter.name);
    CHECK(kept.gradient(parameter.name) == recomputed.gradient(parameter.name));
  }
}

}  // namespace facet::testing
