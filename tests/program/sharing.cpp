#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "facet/error.h"
#include "facet/precision.h"
#include "program/parameter_store.h"
#include "program/small_model.h"

namespace facet::testing {
namespace {

/// A plain Adam step in double, for every trainable parameter.
std::vector<std::vector<float>> first_adam_step(const Parameters& parameters, const Session& gradients, double rate) {
  std::vector<std::vector<float>> values = snapshot(parameters);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Parameter& parameter = parameters.list()[i];
    if (!parameter.trainable) continue;
    const std::vector<float> gradient = gradients.gradient(parameter.name);
    for (std::size_t j = 0; j < gradient.size(); ++j) {
      const double g = gradient[j];
      values[i][j] = static_cast<float>(values[i][j] - rate * g / (std::abs(g) + 1e-8));
    }
  }
  return values;
}

/// Weights, statistics and the optimiser's state.
void copy(const Parameters& from, Parameters& to) {
  for (std::size_t i = 0; i < from.list().size(); ++i) {
    const auto index = static_cast<int>(i);
    to.set(index, from.get(index));
    if (!from.list()[i].is_trained()) continue;
    for (int slot = 0; slot < static_cast<int>(from.state().slot_names.size()); ++slot) {
      to.state().set_slot(index, slot, from.state().get_slot(index, slot));
    }
  }
}

}  // namespace

TEST_CASE("program: a training step applies Adam to the gradients of every parameter") {
  const Problem problem = small_model(6, false);
  Parameters parameters = random_parameters(problem.graph);
  Session gradients = gradient_session(problem, parameters);
  gradients.run(problem);
  const auto expected = first_adam_step(parameters, gradients, 1e-3);
  TrainingSession training(problem, parameters);
  training.step(problem, 1, 1e-3F);
  const auto after = snapshot(parameters);
  for (std::size_t i = 0; i < after.size(); ++i) {
    if (!parameters.list()[i].trainable) continue;
    CAPTURE(parameters.list()[i].name);
    // An element whose gradient is only rounding error may change in either direction, by the learning rate at most.
    CHECK(rms_difference(after[i], expected[i]) < 0.05 * 1e-3);
  }
}

TEST_CASE("program: programs of the full and of a smaller batch train the same parameters") {
  const Problem problem = small_model(6, false);
  const Problem small = first_images(problem, small_model(2, false).graph, 2);
  Parameters shared = random_parameters(problem.graph);
  TrainingSession full(problem, shared), rest(small, shared);
  full.step(problem, 1);
  const auto between = snapshot(shared);
  rest.step(small, 2);
  CHECK(snapshot(shared) != between);

  // The same two steps by programs with parameters of their own, which are copied in PyTorch's order in between.
  Parameters first = random_parameters(problem.graph);
  TrainingSession(problem, first).step(problem, 1);
  CHECK(snapshot(first) == between);
  Parameters second(problem.graph, 7);
  TrainingSession alone(small, second);
  copy(first, second);
  alone.step(small, 2);
  for (std::size_t i = 0; i < second.list().size(); ++i) {
    const auto index = static_cast<int>(i);
    CAPTURE(second.list()[i].name);
    // Not bit for bit: alone, the smaller batch may keep parameters in another layout and sum in another order.
    CHECK(rms_difference(shared.get(index), second.get(index)) <= 1e-4);
    if (second.list()[i].trainable) CHECK(rms_difference(shared.get(index), between[i]) > 1e-3);
  }
}

TEST_CASE("program: evaluation uses the parameters that training updates, whichever program was compiled first") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph);
  Session before = inference_session(problem, parameters);
  before.run(problem);
  const std::vector<float> untrained = before.logits();
  TrainingSession training(problem, parameters);
  before.run(problem);
  CHECK(before.logits() == untrained);
  Session after = inference_session(problem, parameters);
  after.run(problem);
  CHECK(max_difference(after.logits(), untrained) < 1e-5);
  for (int step = 1; step <= 2; ++step) {
    training.step(problem, step);
    before.run(problem);
    after.run(problem);
    CHECK(max_difference(before.logits(), untrained) > 1e-3);
    CHECK(max_difference(before.logits(), after.logits()) < 1e-5);
  }
}

TEST_CASE("program: parameters are read as they were set, in any layout that training keeps them in") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph);
  const auto before = snapshot(parameters);
  TrainingSession training(problem, parameters);
  CHECK(snapshot(parameters) == before);
  Parameters other = random_parameters(problem.graph, 2);
  const auto values = snapshot(other);
  for (std::size_t i = 0; i < values.size(); ++i) parameters.set(static_cast<int>(i), values[i]);
  CHECK(snapshot(parameters) == values);

  // The next step starts from these values.
  TrainingSession fresh(problem, other);
  training.step(problem, 1);
  fresh.step(problem, 1);
  CHECK(snapshot(parameters) == snapshot(other));
}

TEST_CASE("program: a step at learning rate 0 changes nothing but statistics") {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph);
  TrainingSession training(problem, parameters);
  const auto before = snapshot(parameters);
  training.step(problem, 1, 0);
  const auto after = snapshot(parameters);
  for (std::size_t i = 0; i < after.size(); ++i) {
    CAPTURE(parameters.list()[i].name);
    CHECK((before[i] == after[i]) == parameters.list()[i].trainable);
  }
}

TEST_CASE("program: unknown names, wrong element counts and out-of-range indices of parameters are refused") {
  const Problem problem = small_model(2);
  Parameters parameters(problem.graph, 1);
  CHECK_THROWS_WITH_AS(parameters.find("stem.conv.wait"), doctest::Contains("stem.conv.wait"), Error);
  CHECK_THROWS_WITH_AS(parameters.set(parameters.find("stem.conv.weight"), {1, 2}),
                       doctest::Contains("stem.conv.weight"), Error);
  const auto count = static_cast<int>(parameters.list().size());
  for (const int index : {-1, count}) {
    CAPTURE(index);
    CHECK_THROWS_AS(parameters.get(index), Error);
    CHECK_THROWS_AS(parameters.set(index, {1}), Error);
    CHECK_THROWS_AS(parameters.get_counter(index), Error);
    CHECK_THROWS_AS(parameters.set_counter(index, 1), Error);
  }
  CHECK_THROWS_WITH_AS(parameters.get_counter(0), doctest::Contains("stem.conv.weight"), Error);
}

TEST_CASE("parameters: initial values depend on seed and name alone") {
  const Problem problem = small_model(2);
  const Parameters first(problem.graph, 1), again(problem.graph, 1), other(problem.graph, 2);
  CHECK(snapshot(first) == snapshot(again));
  const int conv = first.find("residual.conv1.weight");
  CHECK(first.get(conv) != other.get(conv));
  CHECK(first.get(conv) != first.get(first.find("residual.conv2.weight")));
  float largest = 0;
  for (const float value : first.get(conv)) largest = std::max(largest, std::abs(value));
  const float bound = 1 / std::sqrt(16.0F * 9);
  CHECK(largest <= bound);
  CHECK(largest > 0.98F * bound);
  CHECK(rms(first.get(conv)) == doctest::Approx(bound / std::sqrt(3.0)).epsilon(0.05));
}

TEST_CASE(
    "program: inference reads a linear layer's weights correctly in the layout that training chose for a vector") {
  // In training, dropout takes the activations in PyTorch's order, as a vector; inference reads them in the layout of
  // the convolution's output.
  const Problem problem = make_problem([](Value x) {
    Value y = dropout(flatten(relu(front(x, 16))), 0.5F);
    return linear(y, {.features = 16, .name = "hidden"});
  });
  const program::ProgramOptions inference{.batch = problem.batch, .mode = program::Mode::inference};
  Parameters parameters = random_parameters(problem.graph);
  Session before(problem.graph, parameters, inference);
  before.run(problem);
  const std::vector<float> expected = before.logits();

  Parameters placed = random_parameters(problem.graph);
  program::LayoutPlan plan = *placed.state().plan;
  for (program::LayoutPlan::Entry& entry : plan.entries) {
    if (entry.parameter != placed.find("hidden.weight")) continue;
    entry.layout = onednn::tagged(onednn::dims_of(entry.layout), onednn::Type::f32, onednn::Tag::ba);
  }
  placed.state().place(plan);
  Session after(problem.graph, placed, inference);
  after.run(problem);
  CHECK(after.logits() == expected);
}

TEST_CASE("program: where one process wants f32 weights, it doesn't read their bf16 copies") {
  const Problem problem = small_model(4, false);
  Parameters with = random_parameters(problem.graph), without = random_parameters(problem.graph);
  program::LayoutPlan plan = *with.state().plan;
  for (program::LayoutPlan::Entry& entry : plan.entries) {
    entry.has_bf16_copy = with.list()[static_cast<std::size_t>(entry.parameter)].is_trained();
  }
  with.state().place(plan);
  // Inference programs are compiled first, so that the sessions keep the plans.
  const Session inference = inference_session(problem, with), inference_without = inference_session(problem, without);
  TrainingSession training(problem, with), training_without(problem, without);
  for (std::int64_t step = 1; step <= 3; ++step) {
    CHECK(training.step(problem, step) == training_without.step(problem, step));
  }
  CHECK(snapshot(with) == snapshot(without));
}

TEST_CASE("program: reading the bf16 copies of weights gives the same bits as rounding the weights in each step") {
  if (!has_native_bf16()) {
    MESSAGE("skipped: this CPU, or this oneDNN, computes no bf16");
    return;
  }
  const Problem problem = small_model(6, false);
  const Problem small = first_images(problem, small_model(4, false).graph, 4);
  Parameters with = random_parameters(problem.graph), without = random_parameters(problem.graph);
  {
    const base::ComputeScope scope(test_threads);
    const auto rule = optim::adam();
    program::TuningRecord tuning_record(false);
    program::LayoutPlan plan = program::plan_layouts(
        problem.graph,
        {.batch = 6, .precision = Precision::bf16, .mode = program::Mode::training, .optimizer = rule.get()},
        tuning_record);
    without.state().place(program::without_bf16_copies(plan));
    for (program::LayoutPlan::Entry& entry : plan.entries) {
      const bool is_trained = with.list()[static_cast<std::size_t>(entry.parameter)].is_trained();
      entry.has_bf16_copy = is_trained && onednn::strides_of(entry.layout).has_value();
    }
    with.state().place(plan);
  }
  // An inference program is compiled first, so that the sessions keep the plans.
  Session inference = inference_session(problem, with, Precision::bf16);
  Session inference_without = inference_session(problem, without, Precision::bf16);
  TrainingSession training(problem, with, Precision::bf16), rest(small, with, Precision::bf16);
  TrainingSession training_without(problem, without, Precision::bf16), rest_without(small, without, Precision::bf16);
  const auto check = [&] {
    CHECK(snapshot(with) == snapshot(without));
    CHECK(inference.run(problem) == inference_without.run(problem));
    CHECK(inference.logits() == inference_without.logits());
  };
  check();
  CHECK(training.step(problem, 1) == training_without.step(problem, 1));
  check();
  CHECK(rest.step(small, 2) == rest_without.step(small, 2));
  check();
  const Parameters others = random_parameters(problem.graph, 5);
  for (int i = 0; i < static_cast<int>(others.list().size()); ++i) {
    with.set(i, others.get(i));
    without.set(i, others.get(i));
  }
  check();
  CHECK(training.step(problem, 3) == training_without.step(problem, 3));
  check();
}

}  // namespace facet::testing
