#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "reference/reference_file.h"

namespace facet::testing {
namespace {

/// Bounds of the difference between f32 and float64, relative to the tensor's rms. With these weights and images no
/// value is near a kink, where rounding would decide whether a gradient passes.
struct Bounds {
  double rms = 1e-5, largest = 2e-4;
};

/// Bounds with Winograd convolutions, for which at most 6e-6 and 6e-5 are measured.
constexpr Bounds winograd_bounds{.rms = 2e-5, .largest = 4e-4};

program::TuningRecord tuning_record_for(const std::string& candidate, const Graph& graph, Parameters& parameters,
                                        const program::ProgramOptions& options) {
  if (candidate.empty()) return program::TuningRecord(false);
  if (candidate == "tuned") return program::TuningRecord(true);
  return prefer(candidate, graph, parameters, options);
}

/// Compares the reference model's first step with float64: loss, logits, every gradient.
/// @param candidate chosen for each convolution that has it; "tuned": the fastest one; empty: the defaults.
void check_first_step(int size, const std::string& candidate = {}, const Bounds& bounds = {}) {
  const ReferenceFile reference("model" + std::to_string(size));
  Problem problem{reference_without_dropout(size), reference.shape("pixels").at(0), reference.pixels(),
                  reference.labels()};
  Parameters parameters(problem.graph, 1);
  reference.load_weights(parameters);
  const program::ProgramOptions options = model_options(problem.batch, program::Mode::gradients);
  Session session(problem.graph, parameters, options, tuning_record_for(candidate, problem.graph, parameters, options));
  const double expected_loss = reference.read("loss").at(0);
  CHECK(std::abs(session.run(problem) - expected_loss) <= 3e-6 * expected_loss);
  for (std::size_t head = 0; head < problem.graph.heads().size(); ++head) {
    const std::string& name = problem.graph.heads()[head].name;
    CHECK(difference(session.logits(static_cast<int>(head)), reference.read("logits." + name)).rms <= bounds.rms);
  }
  for (const Parameter& parameter : parameters.list()) {
    if (!parameter.trainable) continue;
    const Difference error = difference(session.gradient(parameter.name), reference.read("gradient." + parameter.name));
    const std::vector<float> torch = reference.read("float32_error." + parameter.name);
    // Where the error of PyTorch's f32 is as large, rounding has decided whether a gradient passes a kink.
    CHECK_MESSAGE(error.rms <= std::max<double>(bounds.rms, 1.1 * torch[0]), parameter.name, ": rms error ", error.rms,
                  ", PyTorch's f32 ", torch[0]);
    CHECK_MESSAGE(error.largest <= std::max<double>(bounds.largest, 1.1 * torch[1]), parameter.name, ": largest error ",
                  error.largest, ", PyTorch's f32 ", torch[1]);
  }
}

}  // namespace

TEST_CASE("reference model at 64x64: the first step against float64 PyTorch") {
  if (have_references()) check_first_step(64);
}

TEST_CASE("reference model at 64x64: the first step of a tuned program") {
  if (have_references()) check_first_step(64, "tuned", winograd_bounds);
}

TEST_CASE("reference model at 64x64: the first step with Winograd's algorithm wherever it applies") {
  if (!have_references()) return;
  SUBCASE("facet's") { check_first_step(64, "winograd f32", winograd_bounds); }
  SUBCASE("oneDNN's") { check_first_step(64, "winograd onednn", winograd_bounds); }
}

TEST_CASE("reference model at 224x224: the first step against float64 PyTorch") {
  if (have_references()) check_first_step(224);
}

}  // namespace facet::testing
