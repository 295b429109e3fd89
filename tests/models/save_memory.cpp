#include <doctest/doctest.h>

#include "facet/models.h"
#include "facet/precision.h"
#include "models/heads.h"
#include "program/small_model.h"

namespace facet::testing {
namespace {

Problem reference_problem(int size, std::int64_t batch) {
  Problem problem;
  problem.graph = reference({.heads = fairface_heads(), .size = size});
  problem.batch = batch;
  problem.pixels = random_pixels(batch * size * size, 1);
  problem.labels = random_labels(problem.graph, batch, 1);
  return problem;
}

}  // namespace

TEST_CASE("reference: save_memory takes less of it, and training comes to the same bits") {
  const Problem problem = reference_problem(64, 16);
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    if (precision == Precision::bf16 && !has_native_bf16()) continue;
    CAPTURE(to_string(precision));
    const Trained kept = train_on_poison(problem, precision, false);
    const Trained again = train_on_poison(problem, precision, true);
    CHECK(again.losses == kept.losses);
    CHECK(again.parameters == kept.parameters);
    CHECK(again.arena_bytes < 0.8 * kept.arena_bytes);
  }
}

}  // namespace facet::testing
