#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

#include "facet/error.h"
#include "facet/graph.h"
#include "facet/parameters.h"
#include "graph/op.h"

namespace facet::testing {

TEST_CASE("initialization: normal draws have mean 0 and the given deviation, and depend on seed and name alone") {
  Graph graph;
  graph::add_parameter(graph, "a", {200, 500}, Initializer::normal(0.02F));
  graph::add_parameter(graph, "b", {200, 500}, Initializer::normal(0.02F));
  const Parameters parameters(graph, 1);
  const std::vector<float> values = parameters.get(0);
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  const double square = std::inner_product(values.begin(), values.end(), values.begin(), 0.0) / count;
  CHECK(std::abs(mean) < 5 * 0.02 / std::sqrt(count));
  CHECK(std::sqrt(square) == doctest::Approx(0.02).epsilon(0.01));
  CHECK(Parameters(graph, 1).get(0) == values);
  CHECK(Parameters(graph, 2).get(0) != values);
  CHECK(parameters.get(1) != values);
}

TEST_CASE("initialization: kaiming_normal's variance is 2 / fan") {
  const Initializer initializer = Initializer::kaiming_normal(64 * 9);
  CHECK(initializer.kind == Initializer::Kind::normal);
  CHECK(initializer.value == doctest::Approx(std::sqrt(2.0 / 576)));
  CHECK_THROWS_WITH_AS(Initializer::kaiming_normal(0), doctest::Contains("fan 0"), Error);
}

}  // namespace facet::testing
