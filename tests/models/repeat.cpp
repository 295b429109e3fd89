#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <optional>

#include "facet/models.h"
#include "facet/precision.h"
#include "models/heads.h"
#include "ops/network.h"
#include "program/small_model.h"

namespace facet::testing {
namespace {

/// Trains the reference model for two steps at its full size, with this candidate for its 3x3 convolutions.
Trained train(const Problem& problem, Precision precision, const std::string& candidate,
              std::optional<std::byte> pattern) {
  const auto rule = optim::adam();
  const program::ProgramOptions options{.batch = problem.batch,
                                        .precision = precision,
                                        .mode = program::Mode::training,
                                        .mean = {0.5F, 0.5F, 0.5F},
                                        .std = {0.3F, 0.3F, 0.3F},
                                        .seed = 3,
                                        .optimizer = rule.get()};
  Parameters tried(problem.graph, 1), parameters(problem.graph, 1);
  Session session(problem.graph, parameters, options, prefer(candidate, problem.graph, tried, options));
  const auto instructions = session.program().instructions();
  CHECK(std::ranges::count(instructions, candidate, &program::InstructionInfo::candidate) > 20);
  session.program().poison(pattern);
  Trained trained;
  for (int step = 1; step <= 2; ++step) trained.losses.push_back(session.run(problem, step, 1e-4F));
  trained.parameters = snapshot(parameters);
  return trained;
}

}  // namespace

TEST_CASE("reference: at 224x224, with facet's Winograd kernels, a run on poisoned memory gives the same bits") {
  constexpr int size = 224;
  Problem problem;
  problem.graph = reference({.heads = fairface_heads(), .size = size});
  problem.batch = 64;
  problem.pixels = random_pixels(problem.batch * size * size, 1);
  problem.labels = random_labels(problem.graph, problem.batch, 1);
  const auto check = [&](Precision precision, const std::string& candidate) {
    CAPTURE(candidate);
    const Trained clean = train(problem, precision, candidate, std::nullopt);
    const Trained poisoned = train(problem, precision, candidate, std::byte{0xFF});
    CHECK(clean.losses == poisoned.losses);
    CHECK(clean.parameters == poisoned.parameters);
  };
  check(Precision::f32, "winograd f32");
  if (has_native_bf16()) check(Precision::bf16, "winograd bf16");
}

}  // namespace facet::testing
