#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/memory.h"
#include "facet/graph.h"
#include "facet/ops.h"
#include "facet/parameters.h"
#include "optim/optimizer.h"
#include "program/choices.h"
#include "program/program.h"

/// Small networks and what is needed to run them: shared by the tests of ops and of programs.
namespace facet::testing {

/// Threads that the tests compute on, but for those of many tiny runs: oneDNN's threads wait for each other in loops,
/// long on a machine that others use too.
inline constexpr int test_threads = 2;

/// A graph with a batch to run it on.
struct Problem {
  Graph graph;
  std::int64_t batch = 0;
  std::vector<std::uint8_t> pixels;  ///< {batch, height, width, 3}
  std::vector<std::int32_t> labels;  ///< {heads, batch}
};

/// Random bytes. With `colours`, each pixel is one of so many random colours: what a 1x1 convolution makes of such an
/// image takes so few values that none is near a kink.
std::vector<std::uint8_t> random_pixels(std::int64_t pixels, std::uint64_t seed, int colours = 0);

/// Labels of all heads, each image carrying all of them.
std::vector<std::int32_t> random_labels(const Graph& graph, std::int64_t batch, std::uint64_t seed);

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

/// The value flattened, a linear layer `name` and its loss as head `name`.
void add_linear_head(Value x, std::int64_t classes, const std::string& name);

/// A convolution with bias, named `front`: what stands before an op under test, so that its gradients are those that
/// come through the op.
Value front(Value x, std::int64_t channels, std::int64_t kernel = 3);

/// Initialises parameters and moves those that start as constants off them, so that no gradient is hidden by a 0 or
/// a 1.
Parameters random_parameters(const Graph& graph, std::uint64_t seed = 1);

/// Makes linear layer `name`, of as many outputs as inputs, the identity.
void make_identity(Parameters& parameters, const std::string& name);

/// All parameters in PyTorch's order.
std::vector<std::vector<float>> snapshot(const Parameters& parameters);

/// A program with an arena of its own.
class Session {
 public:
  Session(const Graph& graph, Parameters& parameters, const program::ProgramOptions& options,
          program::Choices choices = program::Choices(false), int threads = test_threads);

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
  program::Choices choices_;
  base::Arena arena_;
  std::unique_ptr<program::Program> program_;
};

/// Choices that take this candidate (not empty) wherever an op of `options`' program has it, and the default elsewhere.
program::Choices prefer(const std::string& candidate, const Graph& graph, Parameters& parameters,
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
