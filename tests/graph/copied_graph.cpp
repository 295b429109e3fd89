#include <doctest/doctest.h>

#include <optional>

#include "facet/error.h"
#include "graph/some_op.h"

// A copy of a graph has content of its own, and values and scopes of the original stay with the original.

namespace facet::testing {

TEST_CASE("a copy has the original's nodes, parameters and heads, and neither changes the other") {
  Graph graph;
  const Value x = graph.input({3, 8, 8});
  const Value logits = graph::apply(graph, std::make_shared<const SomeOp>(Shape{2}), "conv", {x},
                                    {{"conv.weight", {2}, Initializer::ones()}});
  graph::add_head(graph, "age", logits, apply_some(logits, "loss", {}), LossKind::mean_squared_error);

  Graph copy = graph;
  CHECK(copy.input_shape() == Shape{3, 8, 8});
  REQUIRE(copy.nodes().size() == 3);
  CHECK(copy.nodes()[1].name == "conv");
  CHECK(copy.nodes()[1].op == graph.nodes()[1].op);
  CHECK(copy.nodes()[1].inputs == std::vector<int>{0});
  CHECK(copy.parameters().at(0).name == "conv.weight");
  CHECK(copy.heads().at(0).name == "age");
  CHECK(copy.heads().at(0).kind == LossKind::mean_squared_error);

  copy.freeze("conv.weight");
  CHECK(copy.frozen_count() == 2);
  CHECK(graph.frozen_count() == 0);
  graph::add_parameter(copy, "own", {1}, Initializer::ones());
  CHECK(graph.parameters().size() == 1);
  apply_some(logits, "later");
  CHECK(copy.nodes().size() == 3);
  CHECK_THROWS_WITH_AS(graph::add_parameter(copy, "conv.weight", {2}, Initializer::ones()),
                       doctest::Contains("exists already"), Error);
}

TEST_CASE("values of the original belong to the original, not to the copy") {
  std::optional<Graph> graph(std::in_place);
  const Value x = graph->input({3, 8, 8});
  Graph copy = *graph;
  CHECK(&x.graph() == &*graph);
  CHECK_THROWS_WITH_AS(graph::apply(copy, std::make_shared<const SomeOp>(Shape{2}), "layer", {x}),
                       doctest::Contains("another graph"), Error);
  graph.reset();
  CHECK(copy.nodes().size() == 1);
  CHECK_THROWS_WITH_AS(copy.input({3, 8, 8}), doctest::Contains("an input already"), Error);
}

TEST_CASE("scopes that are open in the original are not open in its copy") {
  Graph graph;
  const Value x = graph.input({3, 8, 8});
  std::optional<Graph> copy;
  {
    const Scope block(graph, "block");
    copy.emplace(graph);
    graph::add_parameter(*copy, "weight", {1}, Initializer::ones());
    graph::add_parameter(graph, "weight", {1}, Initializer::ones());
  }
  CHECK(copy->parameters().at(0).name == "weight");
  CHECK(graph.parameters().at(0).name == "block.weight");
  apply_some(x, "after");
  CHECK(graph.nodes().back().name == "after");
}

TEST_CASE("a graph is assigned to another graph and to itself; one that was moved from can't be copied") {
  Graph graph, other;
  const Value x = graph.input({3, 8, 8});
  other.input({3, 4, 4});
  other = graph;
  CHECK(other.input_shape() == Shape{3, 8, 8});
  const Graph& same = graph;
  graph = same;
  CHECK(&x.graph() == &graph);
  const Graph moved = std::move(graph);
  CHECK_THROWS_WITH_AS(Graph(std::as_const(graph)), doctest::Contains("moved from"),
                       Error);  // NOLINT(bugprone-use-after-move)
  CHECK_THROWS_WITH_AS(other = graph, doctest::Contains("moved from"), Error);
  CHECK(other.input_shape() == Shape{3, 8, 8});
  graph = other;
  CHECK(graph.nodes().size() == 1);
}

}  // namespace facet::testing
