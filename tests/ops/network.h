#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/memory.h"
#include "facet/error.h"
#include "facet/graph.h"
#include "facet/ops.h"
#include "facet/parameters.h"
#include "optim/optimizer.h"
#include "program/program.h"
#include "program/tuning_record.h"

/// Small networks and what is needed to run them: shared by the tests of ops and of programs.
namespace facet::testing {

/// The number of compute threads of the tests, except for tests of many tiny runs: oneDNN's threads wait for each other
/// in busy loops, which is slow on a machine that other processes use too.
inline constexpr int test_threads = 2;

inline constexpr float quiet_nan = std::numeric_limits<float>::quiet_NaN();

/// A graph with a batch to run it on.
struct Problem {
  Graph graph;
  std::int64_t batch = 0;
  std::vector<std::uint8_t> pixels;              ///< {batch, height, width, 3}
  std::vector<std::int32_t> labels;              ///< {heads, batch}
  std::vector<std::vector<float>> targets = {};  ///< by head: {batch, outputs} or empty; empty: none for any head
};

/// Random bytes. With `colours`, each pixel has one of that many random colours: the output of a 1x1 convolution of
/// such an image has so few values that none is near a kink of an activation.
std::vector<std::uint8_t> random_pixels(std::int64_t pixels, std::uint64_t seed, int colours = 0);

/// Labels of all heads; each image has a label of each head.
std::vector<std::int32_t> random_labels(const Graph& graph, std::int64_t batch, std::uint64_t seed);

/// Values as targets of the heads whose losses need them: 0 to 1 for binary cross-entropy, else normally distributed. A
/// fraction `missing` is NaN. Empty for the other heads.
std::vector<std::vector<float>> random_targets(const Graph& graph, std::int64_t batch, std::uint64_t seed,
                                               double missing = 0);

struct ProblemOptions {
  std::int64_t height = 6, width = 7, batch = 3, classes = 4;
  int colours = 0;
  std::uint64_t seed = 1;
};
using Body = std::function<Value(Value)>;
/// input - body - flatten (for an image) - linear `head` - softmax and cross-entropy.
Problem make_problem(const Body& body, const ProblemOptions& options = {});

/// The same network with one of its parameters frozen.
Problem with_frozen(const Problem& problem, const std::string& parameter);

/// Adds flatten (for an image), a linear layer `name` and its loss as head `name`.
void add_linear_head(Value x, std::int64_t classes, const std::string& name,
                     LossKind kind = LossKind::softmax_cross_entropy);

/// A convolution with bias, named `front`, in front of an op under test: its gradients pass through the op.
Value front(Value x, std::int64_t channels, std::int64_t kernel = 3);

/// Initialises parameters, and adds random numbers to constant initial values, so that no 0 or 1 hides a gradient.
Parameters random_parameters(const Graph& graph, std::uint64_t seed = 1);

/// Makes linear layer `name`, of as many outputs as inputs, the identity.
void make_identity(Parameters& parameters, const std::string& name);

/// All parameters in PyTorch's order.
std::vector<std::vector<float>> snapshot(const Parameters& parameters);

/// A program with an arena of its own.
class Session {
 public:
  Session(const Graph& graph, Parameters& parameters, const program::ProgramOptions& options,
          program::TuningRecord tuning_record = program::TuningRecord(false), int threads = test_threads);

  /// Runs; returns the sum over the heads of the mean losses.
  double run(const Problem& problem, std::int64_t step = 1, float learning_rate = 0);
  std::vector<float> logits(int head = 0) const;
  std::vector<float> gradient(const std::string& parameter) const;
  program::Program& program() { return *program_; }
  const program::Program& program() const { return *program_; }
  base::Arena& arena() { return arena_; }

 private:
  Parameters& parameters_;
  int threads_;
  program::TuningRecord tuning_record_;
  base::Arena arena_;
  std::unique_ptr<program::Program> program_;
};

/// A tuning record with this candidate (not empty) for each op of `options`' program that has it; the other ops use
/// their defaults.
program::TuningRecord prefer(const std::string& candidate, const Graph& graph, Parameters& parameters,
                             const program::ProgramOptions& options, int threads = test_threads);

/// A session of `problem`'s batch that keeps gradients.
Session gradient_session(const Problem& problem, Parameters& parameters, Precision precision = Precision::f32,
                         int threads = test_threads);
/// A session of `problem`'s batch for inference.
Session inference_session(const Problem& problem, Parameters& parameters, Precision precision = Precision::f32);

/// Root mean square of the values; 0 for none.
double rms(const std::vector<float>& values);
/// Root mean square of the differences.
double rms_difference(const std::vector<float>& a, const std::vector<float>& b);
/// Largest absolute difference.
double max_difference(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace facet::testing

namespace facet::testing {

/// A network of the table cases.json: `front` (a convolution 3x3 with bias, left out at 0 channels), the ops under
/// test, and for each head a linear layer of its name and its loss. An op reads the value before it unless `from` names
/// others; a value's name is its op's `name` (which its parameters have too) or `as`.
struct Case {
  std::string name;  ///< op.case, which is also the name of the reference's file
  nlohmann::json table;

  std::int64_t batch() const { return table.value("batch", 3); }
  /// Whether training draws random numbers, so that only evaluation can be compared.
  bool random() const { return table.value("random", false); }
  Graph build() const;
  /// Multiplies `front`'s weights where the case needs larger values.
  void scale_front(Parameters& parameters) const;
};

/// All cases, or those of one op.
std::vector<Case> read_cases(const std::string& op = {});

}  // namespace facet::testing

namespace facet::testing {

/// The step of the finite differences, and the tolerance between their slope and the gradient.
struct DifferenceOptions {
  double step = 0.02;       ///< distance by which parameters are moved
  double tolerance = 1e-3;  ///< relative to the gradient's norm (along it), or to its rms (one element)
};

/// Compares every trainable parameter's gradient with central differences of the loss (of fourth order, from two
/// steps): along the gradient itself, and for its largest and some random elements. Batch, step (so the masks of
/// dropout) and running statistics are the same for all runs.
void check_gradients(const Problem& problem, Parameters& parameters, const DifferenceOptions& options = {});
/// The same with random parameters.
void check_gradients(const Problem& problem, const DifferenceOptions& options = {});

}  // namespace facet::testing

namespace facet::testing {

/// Freezes one of a layer's two parameters: the other's gradient stays the same, and only the other is trained.
inline void check_frozen(const Problem& problem, const std::string& frozen, const std::string& trained) {
  CAPTURE(frozen);
  Parameters parameters = random_parameters(problem.graph);
  Session whole = gradient_session(problem, parameters);
  whole.run(problem);
  const Problem half = with_frozen(problem, frozen);
  Parameters half_parameters = random_parameters(half.graph);
  Session session = gradient_session(half, half_parameters);
  session.run(half);
  CHECK(rms(session.gradient(trained)) > 0);
  CHECK(session.gradient(trained) == whole.gradient(trained));
  CHECK_THROWS_AS(session.gradient(frozen), Error);

  const auto optimizer = optim::adam();
  Session training(half.graph, half_parameters,
                   {.batch = half.batch, .mode = program::Mode::training, .optimizer = optimizer.get()});
  const int kept = half_parameters.find(frozen), moved = half_parameters.find(trained);
  const auto before = snapshot(half_parameters);
  training.run(half, 1, 1e-2F);
  CHECK(half_parameters.get(kept) == before[static_cast<std::size_t>(kept)]);
  CHECK(half_parameters.get(moved) != before[static_cast<std::size_t>(moved)]);
}

}  // namespace facet::testing
