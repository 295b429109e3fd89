#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "facet/precision.h"
#include "program/parameter_store.h"
#include "program/small_model.h"
#include "testing.h"

namespace facet::testing {
namespace {

using program::InstructionInfo;
using program::InstructionKind;

Problem frozen_model(const std::vector<std::string>& patterns, std::int64_t batch = 4) {
  Problem problem = small_model(batch);
  for (const std::string& pattern : patterns) problem.graph.freeze(pattern);
  return problem;
}

std::vector<std::string> instructions_of(const Session& session, const std::string& in_name) {
  std::vector<std::string> names;
  for (const InstructionInfo& instruction : session.program().instructions()) {
    if (contains(instruction.name, in_name)) names.push_back(instruction.name);
  }
  return names;
}

/// Results of three steps of a training program in an arena of NaN, with AdamW, weight decay and an average.
struct Run {
  std::vector<double> losses;
  std::vector<std::vector<float>> before, after, average;
  std::size_t bytes;  ///< of the arena, of held memory and of the parameters with their state
};
Run train(const Problem& problem, Precision precision = Precision::f32, bool save_memory = false) {
  const auto optimizer = optim::adamw({.groups = {.weight_decay = 0.5, .decays_vectors = true}});
  Parameters parameters = random_parameters(problem.graph), average(problem.graph, 2);
  Run run;
  run.before = snapshot(parameters);
  Session session(problem.graph, parameters,
                  {.batch = problem.batch,
                   .precision = precision,
                   .mode = program::Mode::training,
                   .seed = 3,
                   .save_memory = save_memory,
                   .optimizer = optimizer.get(),
                   .average = &average,
                   .average_decay = 0.7});
  std::memset(session.arena().data(), 0xFF, session.program().arena_bytes());
  for (int step = 1; step <= 3; ++step) run.losses.push_back(session.run(problem, step, 1e-2F));
  run.after = snapshot(parameters);
  run.average = snapshot(average);
  run.bytes = session.program().arena_bytes() + session.program().held_bytes();
  run.bytes += parameters.state().bytes();
  return run;
}

}  // namespace

TEST_CASE("freeze: frozen layers at the bottom have no backward, and compute as in inference") {
  const Problem problem = frozen_model({"stem.*"});
  Parameters parameters = random_parameters(problem.graph);
  TrainingSession training(problem, parameters);
  const std::vector<std::string> stem = instructions_of(training.session(), "stem");
  CHECK_MESSAGE(stem == std::vector<std::string>{"stem.conv.forward"}, stem.size());
  CHECK(instructions_of(training.session(), "max_pool") == std::vector<std::string>{"max_pool.forward"});
  CHECK(instructions_of(training.session(), "residual.conv1.backward_data").empty());
  CHECK(instructions_of(training.session(), "residual.conv2.backward_data").size() == 1);
}

TEST_CASE("freeze: frozen layers in the middle propagate gradients, and normalise by their running statistics") {
  const Problem problem = frozen_model({"residual.conv1.*", "residual.bn1.*", "residual.bn2.weight"});
  Parameters parameters = random_parameters(problem.graph);
  TrainingSession training(problem, parameters);
  const Session& session = training.session();
  CHECK(instructions_of(session, "residual.conv1.backward_weights").empty());
  CHECK(instructions_of(session, "residual.conv1.backward_data").size() == 1);
  CHECK(instructions_of(session, "residual.bn1") ==
        std::vector<std::string>{"residual.bn1.forward", "residual.bn1.backward"});
  CHECK(!instructions_of(session, "residual.bn2.statistics").empty());  // its bias is trained
  CHECK(!instructions_of(session, "residual.bn2.bias.update").empty());
  CHECK(instructions_of(session, "residual.bn2.weight").empty());
}

TEST_CASE("freeze: training leaves frozen weights and statistics unchanged, and they equal their average") {
  const std::vector<std::string> patterns{"stem.*", "residual.bn1.*", "hidden1.weight", "second.*"};
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    if (precision == Precision::bf16 && !has_native_bf16()) continue;
    CAPTURE(to_string(precision));
    const Problem problem = frozen_model(patterns);
    const Run run = train(problem, precision);
    for (std::size_t i = 0; i < run.before.size(); ++i) {
      const Parameter& parameter = problem.graph.parameters()[i];
      CAPTURE(parameter.name);
      const bool stays =
          parameter.frozen || parameter.name.starts_with("stem.bn.") || parameter.name.starts_with("residual.bn1.");
      CHECK((run.after[i] == run.before[i]) == stays);
      if (stays) CHECK(run.average[i] == run.before[i]);
    }
    const Run saving_memory = train(problem, precision, true);
    CHECK(saving_memory.losses == run.losses);
    CHECK(saving_memory.after == run.after);
  }
}

TEST_CASE("freeze: less memory is needed for gradients, activations and the optimiser's state") {
  const std::size_t whole = train(frozen_model({}, 16)).bytes;
  const Problem stem = frozen_model({"stem.*"}, 16), trunk = frozen_model({"stem.*", "residual.*"}, 16);
  const std::size_t without_stem = train(stem).bytes, heads_alone = train(trunk).bytes;
  CHECK_MESSAGE(static_cast<double>(without_stem) < 0.85 * static_cast<double>(whole), without_stem, " of ", whole);
  CHECK_MESSAGE(static_cast<double>(heads_alone) < 0.7 * static_cast<double>(whole), heads_alone, " of ", whole);
}

TEST_CASE("freeze: values that are set after compiling take effect, also where memory is prepared from them") {
  const Problem problem = frozen_model({"stem.*", "residual.conv1.*", "residual.bn1.*"});
  Parameters parameters = random_parameters(problem.graph);
  TrainingSession training(problem, parameters);
  const double first = training.step(problem, 1, 0);
  for (const char* name : {"stem.conv.weight", "stem.bn.bias", "stem.bn.running_var", "residual.conv1.weight"}) {
    CAPTURE(name);
    const int index = parameters.find(name);
    const std::vector<float> before = parameters.get(index);
    std::vector<float> other = before;
    for (float& value : other) value = 2 * value + 0.1F;
    parameters.set(index, other);
    CHECK(training.step(problem, 1, 0) != doctest::Approx(first).epsilon(1e-4));
    parameters.set(index, before);
    CHECK(training.step(problem, 1, 0) == doctest::Approx(first).epsilon(1e-6));
  }
}

TEST_CASE("freeze: gradients above frozen layers equal those of the network without frozen layers") {
  // No batch normalisation is frozen, so that each uses its batch's statistics in both networks.
  const Problem whole = small_model(4, false);
  Problem part = small_model(4, false);
  part.graph.freeze("residual.conv1.*");
  part.graph.freeze("hidden1.*");
  Parameters parameters = random_parameters(whole.graph), frozen_parameters = random_parameters(part.graph);
  Session session = gradient_session(whole, parameters), frozen = gradient_session(part, frozen_parameters);
  CHECK(session.run(whole) == doctest::Approx(frozen.run(part)).epsilon(1e-6));
  for (const Parameter& parameter : part.graph.parameters()) {
    if (!parameter.is_trained()) continue;
    const std::vector<float> expected = session.gradient(parameter.name);
    CHECK_MESSAGE(rms_difference(frozen.gradient(parameter.name), expected) <= 1e-4 * rms(expected) + 1e-9,
                  parameter.name);
  }
}

TEST_CASE("freeze: a frozen batch normalisation accepts one value per channel, as it computes no variance") {
  const auto body = [](Value x) { return batch_norm(global_average_pool(front(x, 4)), {.name = "last"}); };
  Problem one = make_problem(body, {.batch = 1});
  one.graph.freeze("last.*");
  Parameters parameters(one.graph, 1);
  CHECK_NOTHROW(gradient_session(one, parameters).run(one));
}

}  // namespace facet::testing
