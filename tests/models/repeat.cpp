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

/// Two steps of the reference model at its full size, its 3x3 convolutions by this candidate.
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
  const auto steps = session.program().instructions();
  CHECK(std::ranges::count(steps, candidate, &program::InstructionInfo::candidate) > 20);
  session.program().poison(pattern);
  Trained trained;
  for (int step = 1; step <= 2; ++step) trained.losses.push_back(session.run(problem, step, 1e-4F));
  trained.parameters = snapshot(parameters);
  return trained;
}

}  // namespace

TEST_CASE("reference: at 224x224 a run has the same bits again, by our Winograd kernels, on poisoned memory") {
  constexpr int size = 224;
  Problem problem;
  problem.graph = reference({.heads = fairface_heads(), .size = size});
  problem.batch = 64;
  problem.pixels = random_pixels(problem.batch * size * size, 1);
  problem.labels = random_labels(problem.graph, problem.batch, 1);
  const auto check = [&](Precision precision, const std::string& candidate) {
    CAPTURE(candidate);
    const Trained once = train(problem, precision, candidate, std::nullopt);
    const Trained again = train(problem, precision, candidate, std::byte{0xFF});
    CHECK(once.losses == again.losses);
    CHECK(once.parameters == again.parameters);
  };
  check(Precision::f32, "winograd f32");
  if (has_native_bf16()) check(Precision::bf16, "winograd bf16");
}

}  // namespace facet::testing
