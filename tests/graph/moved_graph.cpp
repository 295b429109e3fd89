#include <doctest/doctest.h>

#include <optional>

#include "facet/error.h"
#include "graph/some_op.h"

// Returning a graph moves it; values and scopes that were made before must follow it.

namespace facet::testing {
namespace {

/// Returns one of two graphs, so that it is moved.
Graph returned_in_a_scope(bool first) {
  Graph one, other;
  const Scope in_one(one, "one"), in_other(other, "other");
  apply_some(one.input({3, 8, 8}), "layer");
  apply_some(other.input({3, 8, 8}), "layer");
  if (first) return one;
  return other;
}

}  // namespace

TEST_CASE("a scope that is open when its graph is returned ends in the moved graph") {
  for (const bool first : {true, false}) {
    Graph graph = returned_in_a_scope(first);
    CHECK(graph.nodes().at(1).name == (first ? "one.layer" : "other.layer"));
    graph::add_parameter(graph, "weight", {1}, Initializer::ones());
    CHECK(graph.parameters().at(0).name == "weight");
  }
}

TEST_CASE("values of a graph that was moved belong to the object that it was moved to") {
  std::optional<Graph> first(std::in_place);
  Value x = apply_some(first->input({3, 8, 8}), "before");
  Graph second = std::move(*first);
  first.reset();
  CHECK(&x.graph() == &second);
  CHECK(x.shape() == Shape{8});
  x = apply_some(x, "between");
  Graph third;
  const Value of_third = third.input({3, 4, 4});
  CHECK_THROWS_AS(graph::apply(second, std::make_shared<const SomeOp>(Shape{1}), "sum", {x, of_third}), Error);
  third = std::move(second);
  CHECK(&x.graph() == &third);
  CHECK(apply_some(x, "after").id() == 3);
  CHECK(third.nodes().size() == 4);
}

TEST_CASE("a graph that was moved from throws, until another is moved into it") {
  Graph graph;
  const Value x = graph.input({3, 8, 8});
  Graph moved = std::move(graph);
  CHECK_THROWS_WITH_AS(graph.nodes(), doctest::Contains("moved from"), Error);  // NOLINT(bugprone-use-after-move)
  CHECK_THROWS_AS(graph.parameters(), Error);
  CHECK_THROWS_AS(graph.heads(), Error);
  CHECK_THROWS_AS(graph.has_head("age"), Error);
  CHECK_THROWS_AS(graph.input({3, 8, 8}), Error);
  CHECK_THROWS_AS(graph.input_shape(), Error);
  CHECK_THROWS_AS(graph::apply(graph, std::make_shared<const SomeOp>(Shape{1}), "sum", {x}), Error);
  CHECK_THROWS_AS(graph::add_parameter(graph, "weight", {1}, Initializer::ones()), Error);
  CHECK_THROWS_AS(graph.freeze("*"), Error);
  CHECK_THROWS_AS(graph::add_head(graph, "age", x, x, LossKind::softmax_cross_entropy), Error);
  CHECK_THROWS_AS(graph.trainable_count(), Error);
  CHECK_THROWS_AS(graph.frozen_count(), Error);
  CHECK_THROWS_AS(Scope(graph, "scope"), Error);
  graph = std::move(moved);
  CHECK(&x.graph() == &graph);
  CHECK(graph.nodes().size() == 1);
}

}  // namespace facet::testing
