#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "facet/error.h"
#include "graph/op.h"
#include "program/small_model.h"

namespace facet::testing {
namespace {

using program::InstructionInfo;
using program::InstructionKind;

std::int64_t count(const Session& session, InstructionKind kind, const std::string& in_name = {}) {
  const std::vector<InstructionInfo> instructions = session.program().instructions();
  return std::count_if(instructions.begin(), instructions.end(), [&](const InstructionInfo& instruction) {
    return instruction.kind == kind && instruction.name.find(in_name) != std::string::npos;
  });
}

std::int64_t count(const Session& session, const std::string& in_name) {
  const std::vector<InstructionInfo> instructions = session.program().instructions();
  return std::count_if(instructions.begin(), instructions.end(), [&](const InstructionInfo& instruction) {
    return instruction.name.find(in_name) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("program: backward is compiled only where a gradient is needed") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph);
  SUBCASE("the image's gradient isn't computed") {
    const Session session = gradient_session(problem, parameters);
    CHECK(count(session, InstructionKind::convolution_forward) == 3);
    CHECK(count(session, InstructionKind::convolution_backward_weights) == 3);
    CHECK(count(session, InstructionKind::convolution_backward_data) == 2);
    CHECK(count(session, InstructionKind::convolution_backward_data, "stem") == 0);
  }
  SUBCASE("inference has neither backward nor update") {
    const Session session = inference_session(problem, parameters);
    CHECK(count(session, InstructionKind::convolution_backward_data) == 0);
    CHECK(count(session, InstructionKind::convolution_backward_weights) == 0);
    CHECK(count(session, InstructionKind::update) == 0);
    CHECK_THROWS_WITH_AS(session.gradient("stem.conv.weight"), doctest::Contains("stem.conv.weight"), Error);
  }
  SUBCASE("training updates each parameter once") {
    TrainingSession training(problem, parameters);
    std::int64_t trainable = 0;
    for (const Parameter& parameter : parameters.list()) trainable += parameter.trainable ? 1 : 0;
    CHECK(count(training.session(), InstructionKind::update) == trainable);
  }
}

TEST_CASE("program: the image is written directly in blocks of pixels, and has no gradient there either") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph);
  const program::ProgramOptions options{.batch = 4, .mode = program::Mode::gradients};
  const Session session(problem.graph, parameters, options,
                        prefer("space to depth", problem.graph, parameters, options));
  const std::vector<InstructionInfo> instructions = session.program().instructions();
  CHECK(instructions.front().implementation == "facet:pixels_to_blocks");
  CHECK(count(session, InstructionKind::input) == 1);
  CHECK(count(session, "stem.conv.gather_gradient") == 1);
  CHECK(count(session, InstructionKind::convolution_backward_data, "stem") == 0);
}

TEST_CASE(
    "program: a linear layer's weights have the layout that forward and backward_data read, if one kernel computes "
    "both") {
  for (const int features : {48, 256}) {
    const Problem problem = make_problem(
        [&](Value x) { return linear(flatten(front(x, 16)), {.features = features, .name = "hidden"}); }, {.batch = 8});
    Parameters parameters = random_parameters(problem.graph);
    TrainingSession training(problem, parameters);
    std::string forward, backward_data;
    for (const InstructionInfo& instruction : training.session().program().instructions()) {
      if (instruction.name == "hidden.forward") forward = instruction.implementation;
      if (instruction.name == "hidden.backward_data") backward_data = instruction.implementation;
    }
    REQUIRE(!forward.empty());
    REQUIRE(!backward_data.empty());
    if (forward == backward_data) CHECK(count(training.session(), "hidden.weight.reorder") == 0);
  }
}

TEST_CASE("program: a branch that no loss reads has no gradient") {
  const Problem problem = make_problem([](Value x) {
    x = front(x, 8);
    convolution(convolution(x, {.channels = 8, .name = "unused1"}), {.channels = 8, .name = "unused2"});
    return x;
  });
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters);
  session.run(problem);
  CHECK(count(session, InstructionKind::convolution_backward_weights) == 1);
  CHECK(count(session, InstructionKind::convolution_backward_data) == 0);
  CHECK(rms(session.gradient("front.weight")) > 0);
  CHECK_THROWS_WITH_AS(session.gradient("unused1.weight"), doctest::Contains("unused1.weight"), Error);
}

TEST_CASE(
    "program: a parameter that isn't trained has no gradient, and no gradient passes below the lowest trained one") {
  Graph pattern;
  convolution(convolution(pattern.input({3, 6, 6}), {.channels = 8}), {.channels = 8, .name = "second"});
  Problem problem;
  Graph& graph = problem.graph;
  Value x = graph.input({3, 6, 6});
  x = graph::apply(graph, pattern.nodes().at(1).op, "frozen1", {x},
                   {{"frozen1.weight", {8, 3, 3, 3}, Initializer::uniform(0.3F), false}});
  x = graph::apply(graph, pattern.nodes().at(2).op, "frozen2", {x},
                   {{"frozen2.weight", {8, 8, 3, 3}, Initializer::uniform(0.3F), false}});
  x = convolution(x, {.channels = 8, .name = "trained"});
  x = graph::apply(graph, pattern.nodes().at(2).op, "frozen3", {x},
                   {{"frozen3.weight", {8, 8, 3, 3}, Initializer::uniform(0.3F), false}});
  add_linear_head(x, 4, "head");
  problem.batch = 3;
  problem.pixels = random_pixels(3 * 36, 1);
  problem.labels = {0, 1, 2};
  Parameters parameters(graph, 1);
  Session session = gradient_session(problem, parameters);
  session.run(problem);
  CHECK(rms(session.gradient("trained.weight")) > 0);
  for (const char* name : {"frozen1.weight", "frozen2.weight", "frozen3.weight"})
    CHECK_THROWS_AS(session.gradient(name), Error);
  CHECK(count(session, InstructionKind::convolution_backward_weights) == 1);
  CHECK(count(session, InstructionKind::convolution_backward_data) == 1);
  CHECK(count(session, InstructionKind::convolution_backward_data, "frozen3") == 1);

  const auto before = snapshot(parameters);
  TrainingSession training(problem, parameters);
  training.step(problem, 1);
  const auto after = snapshot(parameters);
  for (const char* name : {"frozen1.weight", "frozen2.weight", "frozen3.weight"}) {
    const auto index = static_cast<std::size_t>(parameters.find(name));
    CHECK(before[index] == after[index]);
  }
}

TEST_CASE("program: statistics have no gradient") {
  const Problem problem = small_model(2);
  Parameters parameters = random_parameters(problem.graph);
  const Session session = gradient_session(problem, parameters);
  CHECK_THROWS_AS(session.gradient("stem.bn.running_mean"), Error);
  CHECK_THROWS_AS(session.gradient("stem.bn.num_batches_tracked"), Error);
}

TEST_CASE("program: batch_norm, a residual's add and relu are one instruction") {
  const Problem problem = small_model(2);
  Parameters parameters = random_parameters(problem.graph);
  const Session session = gradient_session(problem, parameters);
  CHECK(count(session, "stem.relu") == 0);
  CHECK(count(session, "residual.relu") == 0);
  CHECK(count(session, "residual.add") == 0);
}

TEST_CASE(
    "program: batch_norm computes the max_pool after it where it is trained and nothing else reads what is pooled") {
  const auto problem_of = [](const Body& body) { return make_problem(body, {.height = 8, .width = 8}); };
  const auto pools_alone = [](const Problem& problem, bool inference = false) {
    Parameters parameters = random_parameters(problem.graph);
    const Session session = inference ? inference_session(problem, parameters) : gradient_session(problem, parameters);
    return count(session, "max_pool") > 0;
  };
  const Problem fused = problem_of([](Value x) { return max_pool(relu(batch_norm(front(x, 4))), {}); });
  CHECK(!pools_alone(fused));
  CHECK(pools_alone(fused, true));
  CHECK(!pools_alone(with_frozen(fused, "bn.bias")));
  CHECK(pools_alone(with_frozen(with_frozen(fused, "bn.bias"), "bn.weight")));
  CHECK(pools_alone(problem_of([](Value x) { return max_pool(relu(front(x, 4)), {}); })));
  CHECK(pools_alone(problem_of([](Value x) {
    x = front(x, 4);
    return max_pool(relu(add(batch_norm(x), x)), {});
  })));
  CHECK(pools_alone(problem_of([](Value x) {
    x = relu(batch_norm(front(x, 4)));
    return concat({max_pool(x, {}), convolution(x, {.channels = 4, .stride = 2})});
  })));
  CHECK(
      pools_alone(problem_of([](Value x) { return max_pool(batch_norm(front(x, 4)), {.kernel = 16, .padding = 8}); })));
}

TEST_CASE("program: in inference batch_norm is folded into the convolution before it") {
  const Problem problem = small_model(2);
  Parameters parameters = random_parameters(problem.graph);
  const Session session = inference_session(problem, parameters);
  CHECK(count(session, InstructionKind::convolution_forward) == 3);
  CHECK(count(session, InstructionKind::normalization) == 0);
  CHECK(count(session, ".bn") == 0);
}

TEST_CASE("program: the profile has a time for each instruction of the last run") {
  const Problem problem = small_model(2);
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters);
  session.program().profile(true);
  session.run(problem);
  const auto seconds = session.program().instruction_seconds();
  CHECK(seconds.size() == session.program().instructions().size());
  CHECK(std::all_of(seconds.begin(), seconds.end(), [](double time) { return time >= 0; }));
  CHECK(*std::max_element(seconds.begin(), seconds.end()) > 0);
  for (const InstructionInfo& instruction : session.program().instructions()) {
    CHECK(!instruction.name.empty());
    CHECK(!instruction.implementation.empty());
  }
}

TEST_CASE("program: invalid options, a missing or too small arena and a graph without heads are refused") {
  Problem problem = small_model(2);
  Parameters parameters(problem.graph, 1);
  program::TuningRecord tuning_record(false);
  CHECK_THROWS_AS(program::Program(problem.graph, parameters, {.batch = 0}, tuning_record), Error);
  CHECK_THROWS_AS(
      program::Program(problem.graph, parameters, {.batch = 2, .mode = program::Mode::training}, tuning_record), Error);
  program::Program unbound(problem.graph, parameters, {.batch = 2}, tuning_record);
  CHECK_THROWS_AS(unbound.run({.pixels = problem.pixels.data()}), Error);
  base::Arena small;
  CHECK_THROWS_AS(unbound.bind(small), Error);
  Graph headless;
  relu(headless.input({3, 4, 4}));
  Parameters none(headless, 1);
  CHECK_THROWS_AS(program::Program(headless, none, {}, tuning_record), Error);
}

}  // namespace facet::testing
