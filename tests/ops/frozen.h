#pragma once

#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/network.h"

namespace facet::testing {

/// Freezes one of a layer's two parameters: the other has the gradient that it has without that, and moves in training.
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
