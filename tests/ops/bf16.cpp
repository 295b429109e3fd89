#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "facet/precision.h"
#include "kernels/amx_backward_weights.h"
#include "kernels/winograd.h"
#include "ops/network.h"

namespace facet::testing {
namespace {

/// bf16 has 8 significant bits: one rounding has a relative error of up to 2^-9. These bounds are relative to the f32
/// tensor's rms, over a few layers. A case has a bound `bf16` of its own where rounding moves values over a kink, which
/// adds or removes whole gradients.
constexpr double logits_bound = 0.015, gradient_bound = 0.015;

Problem make_problem_of(const Case& c) {
  Problem problem{c.build(), c.batch(), {}, {}};
  const Shape& input = problem.graph.input_shape();
  problem.pixels = random_pixels(c.batch() * input[1] * input[2], 11);
  problem.labels = random_labels(problem.graph, c.batch(), 11);
  problem.targets = random_targets(problem.graph, c.batch(), 11);
  return problem;
}

/// @param candidate chosen for every convolution that has it.
/// @param slack a factor of the bounds.
/// @return the number of that candidate's instructions.
std::int64_t compare(const Case& c, const Problem& problem, Parameters& parameters, const std::string& candidate,
                     double slack) {
  Session exact = gradient_session(problem, parameters, Precision::f32, 1);
  const program::ProgramOptions options{.batch = c.batch(),
                                        .precision = Precision::bf16,
                                        .mode = program::Mode::gradients,
                                        .mean = exact.program().options().mean,
                                        .std = exact.program().options().std};
  Session rounded(problem.graph, parameters, options, prefer(candidate, problem.graph, parameters, options, 1), 1);
  const double bound = slack * std::max(gradient_bound, c.table.value("bf16", 0.0));
  const double loss = exact.run(problem);
  CHECK(rounded.run(problem) == doctest::Approx(loss).epsilon(0.02 * slack));
  for (std::size_t head = 0; head < problem.graph.heads().size(); ++head) {
    const std::vector<float> logits = exact.logits(static_cast<int>(head));
    const double error = rms_difference(logits, rounded.logits(static_cast<int>(head)));
    CHECK_MESSAGE(error <= slack * logits_bound * rms(logits), "logits of head ", head, ": ", error / rms(logits));
  }
  double largest = 0;
  for (const Parameter& parameter : parameters.list())
    if (parameter.trainable) largest = std::max(largest, rms(exact.gradient(parameter.name)));
  for (const Parameter& parameter : parameters.list()) {
    if (!parameter.trainable) continue;
    const std::vector<float> gradient = exact.gradient(parameter.name);
    // The gradient of a bias before batch_norm is rounding error alone: it is compared with the network's largest one.
    const double scale = std::max(rms(gradient), 0.1 * largest);
    const double error = rms_difference(gradient, rounded.gradient(parameter.name));
    CHECK_MESSAGE(error <= bound * scale, "gradient of ", parameter.name, ": ", error / scale);
  }
  const std::vector<program::InstructionInfo> instructions = rounded.program().instructions();
  return std::count_if(instructions.begin(), instructions.end(),
                       [&](const auto& instruction) { return instruction.candidate == candidate; });
}

void compare_all(const std::string& candidate, double slack, const std::string& op = {}) {
  std::int64_t count = 0;
  for (const Case& c : read_cases(op)) {
    CAPTURE(c.name);
    const Problem problem = make_problem_of(c);
    Parameters parameters = random_parameters(problem.graph);
    c.scale_front(parameters);
    count += compare(c, problem, parameters, candidate, slack);
  }
  CHECK(count > 0);
}

bool have_bf16() {
  if (!has_native_bf16()) std::puts("SKIPPED: this CPU, or this oneDNN, computes no bf16");
  return has_native_bf16();
}

}  // namespace

TEST_CASE("bf16 inference against f32, with running statistics and held weights") {
  if (!have_bf16()) return;
  const Problem problem = make_problem(
      [](Value x) {
        x = relu(batch_norm(front(x, 16)));
        return relu(batch_norm(convolution(x, {.channels = 16, .bias = true}), {.name = "bn2"}));
      },
      {.height = 9, .width = 8, .batch = 4});
  Parameters parameters = random_parameters(problem.graph);
  Session exact = inference_session(problem, parameters);
  Session rounded = inference_session(problem, parameters, Precision::bf16);
  const auto compare_logits = [&] {
    exact.run(problem);
    rounded.run(problem);
    const std::vector<float> logits = exact.logits();
    const double error = rms_difference(logits, rounded.logits());
    CHECK_MESSAGE(error <= logits_bound * rms(logits), "logits: ", error / rms(logits));
    CHECK(error > 0);
    return logits;
  };
  const std::vector<float> before = compare_logits();
  CHECK(rounded.program().held_bytes() > 0);
  // Held weights follow the parameters when weights and statistics are set to other values.
  const auto others = snapshot(random_parameters(problem.graph, 2));
  for (std::size_t i = 0; i < others.size(); ++i) parameters.set(static_cast<int>(i), others[i]);
  CHECK(max_difference(compare_logits(), before) > 0.05 * rms(before));
}

TEST_CASE("bf16 against f32, within bounds") {
  if (have_bf16()) compare_all("direct", 1);
}

TEST_CASE("bf16 against f32, within bounds, with Winograd convolutions whose products are in f32") {
  if (have_bf16()) compare_all("winograd f32", 1, "convolution");
}

// The transformed values are rounded to bf16 as well, which triples the error.
TEST_CASE("bf16 against f32, within bounds, with Winograd convolutions whose products are in bf16") {
  if (have_bf16() && kernels::has_winograd(kernels::WinogradProducts::bf16)) {
    compare_all("winograd bf16", 3, "convolution");
    compare_all("winograd bf16", 3, "batch_norm");
  }
}

TEST_CASE("bf16 against f32, within bounds, with gradients of convolution weights by AMX") {
  if (!have_bf16()) return;
  if (!kernels::has_amx_bf16()) {
    MESSAGE("skipped: no AMX here");
    return;
  }
  compare_all("direct channels_last, weights amx", 1, "convolution");
  compare_all("direct channels_last, weights amx", 1, "batch_norm");
}

TEST_CASE("bf16 against f32, within bounds, with the image in blocks of pixels") {
  if (!have_bf16()) return;
  compare_all("space to depth", 1, "convolution");
  compare_all("width to depth", 1, "convolution");
}

}  // namespace facet::testing
