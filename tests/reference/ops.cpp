#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "onednn/onednn.h"
#include "ops/network.h"
#include "reference/reference_file.h"

namespace facet::testing {
namespace {

/// Bounds of the difference between f32 and float64, relative to the tensor's rms.
struct Bounds {
  double rms = 1e-5, largest = 2e-4;
};

constexpr Bounds winograd_bounds{.rms = 2e-5, .largest = 4e-4};

void check_tensor(const std::string& name, const std::vector<float>& values, const std::vector<float>& expected,
                  const Bounds& bounds = {}, double floor = 0) {
  const Difference error = difference(values, expected, floor);
  CHECK_MESSAGE(error.rms <= bounds.rms, name, ": rms error ", error.rms);
  CHECK_MESSAGE(error.largest <= bounds.largest, name, ": largest error ", error.largest);
}

program::ProgramOptions options_of(const Case& c, program::Mode mode) {
  return {.batch = c.batch(), .mode = mode, .mean = {0.5F, 0.5F, 0.5F}, .std = {0.25F, 0.25F, 0.25F}};
}

void check_gradients(Session& session, const ReferenceFile& reference, const Problem& problem,
                     const Parameters& parameters, const Bounds& bounds = {}) {
  const double expected_loss = reference.read("loss").at(0);
  CHECK(std::abs(session.run(problem) - expected_loss) <= 1e-5 * std::abs(expected_loss));
  for (std::size_t head = 0; head < problem.graph.heads().size(); ++head) {
    const std::string& name = problem.graph.heads()[head].name;
    check_tensor("logits of " + name, session.logits(static_cast<int>(head)), reference.read("logits." + name), bounds);
  }
  // The error of a gradient that is only rounding error (of a bias before batch_norm) is relative to the largest one.
  double largest = 0;
  for (const Parameter& parameter : parameters.list())
    if (parameter.trainable) largest = std::max(largest, rms(reference.read("gradient." + parameter.name)));
  for (const Parameter& parameter : parameters.list()) {
    if (!parameter.trainable) continue;
    const std::vector<float> expected = reference.read("gradient." + parameter.name);
    check_tensor("gradient of " + parameter.name, session.gradient(parameter.name), expected, bounds, 0.02 * largest);
  }
}

void check_evaluation(const Case& c, const ReferenceFile& reference, const Problem& problem, Parameters& parameters,
                      const std::string& candidate = {}, const Bounds& bounds = {}) {
  const program::ProgramOptions options = options_of(c, program::Mode::inference);
  Session session(
      problem.graph, parameters, options,
      candidate.empty() ? program::TuningRecord(false) : prefer(candidate, problem.graph, parameters, options));
  session.run(problem);
  for (std::size_t head = 0; head < problem.graph.heads().size(); ++head) {
    const std::string& name = problem.graph.heads()[head].name;
    check_tensor("evaluated logits of " + name, session.logits(static_cast<int>(head)),
                 reference.read("evaluated." + name), bounds);
  }
}

/// Checks the running statistics after a training step.
void check_statistics(const Case& c, const ReferenceFile& reference, const Problem& problem, Parameters& parameters) {
  const auto optimizer = optim::adam();
  program::ProgramOptions options = options_of(c, program::Mode::training);
  options.optimizer = optimizer.get();
  Session session(problem.graph, parameters, options);
  session.run(problem);
  for (std::size_t i = 0; i < parameters.list().size(); ++i) {
    const Parameter& parameter = parameters.list()[i];
    if (!reference.has("after." + parameter.name)) continue;
    check_tensor(parameter.name, parameters.get(static_cast<int>(i)), reference.read("after." + parameter.name));
  }
}

/// A case with PyTorch's results and weights.
struct Loaded {
  ReferenceFile reference;
  Problem problem;
  Parameters parameters;

  explicit Loaded(const Case& c)
      : reference(c.name),
        problem{c.build(), c.batch(), reference.pixels(), reference.labels()},
        parameters(problem.graph, 1) {
    problem.targets = reference.targets(problem.graph);
    reference.load_weights(parameters);
  }
};

void check_op(const std::string& op) {
  if (!have_references()) return;
  for (const Case& c : read_cases(op)) {
    CAPTURE(c.name);
    Loaded loaded(c);
    auto& [reference, problem, parameters] = loaded;
    check_evaluation(c, reference, problem, parameters);
    if (!c.random()) {
      Session session(problem.graph, parameters, options_of(c, program::Mode::gradients));
      check_gradients(session, reference, problem, parameters);
    }
    reference.load_weights(parameters);  // the gradients' forward pass has updated the running statistics
    check_statistics(c, reference, problem, parameters);
  }
}

/// Checks the cases with convolutions, with `candidate` for each that has it; more than `min_count` must have it.
void check_candidate(const std::string& candidate, const Bounds& bounds, int min_count) {
  CAPTURE(candidate);
  int count = 0;
  for (const char* op : {"convolution", "batch_norm"}) {
    for (const Case& c : read_cases(op)) {
      CAPTURE(c.name);
      Loaded loaded(c);
      auto& [reference, problem, parameters] = loaded;
      check_evaluation(c, reference, problem, parameters, candidate, bounds);
      const program::ProgramOptions options = options_of(c, program::Mode::gradients);
      program::TuningRecord tuning_record = prefer(candidate, problem.graph, parameters, options);
      for (const auto& [key, chosen] : tuning_record.all()) count += chosen == candidate ? 1 : 0;
      Session session(problem.graph, parameters, options, std::move(tuning_record));
      check_gradients(session, reference, problem, parameters, bounds);
    }
  }
  CHECK(count > min_count);
}

}  // namespace

TEST_CASE("convolution against PyTorch") { check_op("convolution"); }
TEST_CASE("convolution by Winograd's algorithm against PyTorch: oneDNN's, where it has one, and facet's") {
  if (!have_references()) return;
  if (onednn::has_winograd()) {
    check_candidate("winograd onednn", winograd_bounds, 10);
  } else {
    MESSAGE("skipped: ", onednn::version(), " on ", onednn::effective_cpu_isa(),
            " has no convolution by Winograd's algorithm");
  }
  check_candidate("winograd f32", winograd_bounds, 10);
}
TEST_CASE("convolution of the image in blocks of pixels against PyTorch") {
  if (!have_references()) return;
  check_candidate("space to depth", {}, 8);
  check_candidate("width to depth", {}, 8);
}
TEST_CASE("batch_norm against PyTorch") { check_op("batch_norm"); }
TEST_CASE("relu against PyTorch") { check_op("relu"); }
TEST_CASE("relu6 against PyTorch") { check_op("relu6"); }
TEST_CASE("add against PyTorch") { check_op("add"); }
TEST_CASE("concat against PyTorch") { check_op("concat"); }
TEST_CASE("max_pool against PyTorch") { check_op("max_pool"); }
TEST_CASE("average_pool against PyTorch") { check_op("average_pool"); }
TEST_CASE("global_average_pool against PyTorch") { check_op("global_average_pool"); }
TEST_CASE("adaptive_average_pool against PyTorch") { check_op("adaptive_average_pool"); }
TEST_CASE("flatten against PyTorch") { check_op("flatten"); }
TEST_CASE("linear against PyTorch") { check_op("linear"); }
TEST_CASE("dropout and alpha_dropout, switched off, against PyTorch") { check_op("dropout"); }
TEST_CASE("softmax_cross_entropy against PyTorch") { check_op("softmax_cross_entropy"); }
TEST_CASE("binary_cross_entropy against PyTorch") { check_op("binary_cross_entropy"); }
TEST_CASE("mean_squared_error against PyTorch") { check_op("mean_squared_error"); }
TEST_CASE("coral and coral_loss against PyTorch") { check_op("coral_loss"); }

}  // namespace facet::testing
