#include <doctest/doctest.h>

#include "facet/error.h"
#include "facet/ops.h"
#include "graph/op.h"

// The same model for an input of another shape.

using namespace facet;

namespace {

/// A graph of what `add` adds to an input.
Graph graph_of(const Shape& input, const auto& add) {
  Graph graph;
  add(graph.input(input));
  return graph;
}

}  // namespace

TEST_CASE("a graph for another input has the same parameters and heads, and shapes that follow from the input") {
  Graph graph = graph_of({3, 64, 64}, [](Value x) {
    const Value pooled = global_average_pool(relu(convolution(x, {.channels = 4, .stride = 2})));
    mean_squared_error(linear(flatten(pooled), {.features = 2}), "age");
  });
  graph.freeze("conv.weight");
  const Graph smaller = graph::with_input(graph, {3, 32, 48});
  CHECK(smaller.input_shape() == Shape{3, 32, 48});
  CHECK(smaller.nodes()[1].shape == Shape{4, 16, 24});
  CHECK(smaller.nodes()[1].op == graph.nodes()[1].op);
  CHECK(smaller.frozen_count() == graph.frozen_count());
  REQUIRE(smaller.parameters().size() == graph.parameters().size());
  for (std::size_t i = 0; i < graph.parameters().size(); ++i) {
    CHECK(smaller.parameters()[i].name == graph.parameters()[i].name);
    CHECK(smaller.parameters()[i].shape == graph.parameters()[i].shape);
  }
  CHECK(smaller.heads().at(0).logits == graph.heads().at(0).logits);
  CHECK(graph.input_shape() == Shape{3, 64, 64});
}

TEST_CASE("a graph whose parameters or heads depend on the input's size has no other input") {
  const Graph dense =
      graph_of({3, 8, 8}, [](Value x) { mean_squared_error(linear(flatten(x), {.features = 2}), "age"); });
  CHECK_NOTHROW(graph::with_input(dense, {3, 8, 8}));
  CHECK_THROWS_WITH_AS(graph::with_input(dense, {3, 4, 8}),
                       "the shape of 'linear.weight' depends on the size of the input", Error);
  const Graph bare = graph_of({3, 8, 8}, [](Value x) { mean_squared_error(flatten(x), "age"); });
  CHECK_THROWS_WITH_AS(graph::with_input(bare, {3, 4, 8}),
                       "the number of outputs of head 'age' depends on the size of the input", Error);
  const Graph windows = graph_of({3, 8, 8}, [](Value x) {
    mean_squared_error(flatten(global_average_pool(max_pool(x, {.kernel = 3, .stride = 2}))), "age");
  });
  CHECK_THROWS_WITH_AS(graph::with_input(windows, {3, 2, 2}), doctest::Contains("max_pool (max_pool): "), Error);
  CHECK_THROWS_AS(graph::with_input(windows, {3, 0, 2}), Error);
}
