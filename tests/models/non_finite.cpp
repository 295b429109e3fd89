#include <doctest/doctest.h>

#include <cmath>

#include "facet/error.h"
#include "facet/models.h"
#include "models/heads.h"
#include "ops/network.h"
#include "program/parameter_store.h"

namespace facet::testing {

TEST_CASE("alexnet: a weight that is NaN, which its ReLUs and pools hide from the loss, stops its step by name") {
  Problem problem;
  problem.graph = alexnet({.heads = {head("age", 9)}, .size = 63});
  problem.batch = 2;
  problem.pixels = random_pixels(problem.batch * 63 * 63, 1);
  problem.labels = random_labels(problem.graph, problem.batch, 1);
  const auto rule = optim::sgd();
  Parameters parameters(problem.graph, 1);
  Session session(problem.graph, parameters,
                  {.batch = problem.batch, .mode = program::Mode::training, .optimizer = rule.get()});
  CHECK(session.run(problem, 1, 1e-3F) > 0);
  for (const char* name : {"features.0.weight", "features.3.bias"}) {
    CAPTURE(name);
    StoredParameter& stored = parameters.state().stored[static_cast<std::size_t>(parameters.find(name))];
    auto* values = reinterpret_cast<float*>(stored.master.data());
    const float before = values[0];
    values[0] = std::nanf("");  // as an update would: not by Parameters::set, after which it would be seen at once
    CHECK_THROWS_WITH_AS(session.run(problem, 2, 1e-3F), doctest::Contains(name), Error);
    values[0] = before;
  }
}

}  // namespace facet::testing
