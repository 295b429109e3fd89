#include <doctest/doctest.h>

#include <cmath>
#include <optional>

#include "facet/error.h"
#include "graph/some_op.h"

namespace facet::testing {
namespace {

/// An op that refuses all inputs.
class NoOp final : public graph::Op {
 public:
  std::string_view kind() const override { return "none"; }
  Shape infer_shape(const std::vector<Shape>&) const override { throw Error("nothing fits"); }
};

std::vector<Parameter> weight(std::string name) { return {{std::move(name), {2}, Initializer::ones()}}; }

}  // namespace

TEST_CASE("graph: one input, of three channels") {
  for (const Shape& shape : {Shape{1, 8, 8}, Shape{4, 8, 8}, Shape{3, 8}, Shape{3, 0, 8}, Shape{3, 8, -1}, Shape{}}) {
    Graph graph;
    CHECK_THROWS_WITH_AS(graph.input(shape), doctest::Contains("input"), Error);
    CHECK_THROWS_AS(graph.input_shape(), Error);
    graph.input({3, 8, 9});
    CHECK(graph.input_shape() == Shape{3, 8, 9});
  }
  Graph graph;
  CHECK(graph.input({3, 8, 8}).channels() == 3);
  CHECK_THROWS_WITH_AS(graph.input({3, 8, 8}), doctest::Contains("an input already"), Error);
  CHECK(graph.nodes().size() == 1);
}

TEST_CASE("graph: values of other graphs, and values without a graph, are refused") {
  Graph graph, other;
  const Value x = graph.input({3, 8, 8}), foreign = other.input({3, 8, 8});
  const auto op = std::make_shared<const SomeOp>(Shape{2});
  CHECK_THROWS_WITH_AS(graph::apply(graph, op, "sum", {x, foreign}), doctest::Contains("sum"), Error);
  CHECK_THROWS_AS(graph::apply(graph, op, "sum", {Value()}), Error);
  CHECK_THROWS_AS(Value().graph(), Error);
  CHECK_THROWS_AS(Value().shape(), Error);
  CHECK(graph.nodes().size() == 1);
}

TEST_CASE("graph: nodes of the same name get different numbers") {
  Graph graph;
  Value x = graph.input({3, 8, 8});
  for (const char* name : {"relu", "relu", "pool_1", "pool", "pool", "pool", "input"}) x = apply_some(x, name);
  std::vector<std::string> names;
  for (const Node& node : graph.nodes()) names.push_back(node.name);
  CHECK(names == std::vector<std::string>{"input", "relu", "relu_1", "pool_1", "pool", "pool_2", "pool_3", "input_1"});
}

TEST_CASE("graph: scopes nest, and end with their lifetimes") {
  Graph graph;
  const Value x = graph.input({3, 8, 8});
  {
    const Scope block(graph, "block1");
    {
      const Scope residual(graph, "residual"), first(graph, 0);
      graph::apply(graph, std::make_shared<const SomeOp>(Shape{2}), "conv", {x}, weight("conv.weight"));
    }
    apply_some(x, "conv");
  }
  apply_some(x, "conv");
  CHECK(graph.nodes()[1].name == "block1.residual.0.conv");
  CHECK(graph.nodes()[2].name == "block1.conv");
  CHECK(graph.nodes()[3].name == "conv");
  CHECK(graph.parameters().at(0).name == "block1.residual.0.conv.weight");
  CHECK(graph.nodes()[1].parameters == std::vector<int>{0});
}

TEST_CASE("graph: a refused call leaves the graph unchanged") {
  Graph graph;
  const Value x = graph.input({3, 8, 8});
  const auto op = std::make_shared<const SomeOp>(Shape{2});
  CHECK_THROWS_WITH_AS(graph::apply(graph, std::make_shared<const NoOp>(), "layer", {x}, weight("layer.weight")),
                       "layer (none): nothing fits", Error);
  CHECK(graph.parameters().empty());
  graph::apply(graph, op, "layer", {x}, weight("layer.weight"));
  std::vector<Parameter> second = weight("layer.bias");
  second.push_back(weight("layer.weight").front());
  CHECK_THROWS_WITH_AS(graph::apply(graph, op, "layer", {x}, second), doctest::Contains("layer.weight"), Error);
  CHECK(graph.parameters().size() == 1);
  CHECK(graph.nodes().size() == 2);
  CHECK_THROWS_WITH_AS(graph::add_parameter(graph, "layer.weight", {2}, Initializer::ones()),
                       doctest::Contains("layer.weight"), Error);
  CHECK(graph.trainable_count() == 2);
}

TEST_CASE("graph: weights are frozen by patterns of their names") {
  Graph graph;
  const Value x = graph.input({3, 8, 8});
  const auto op = std::make_shared<const SomeOp>(Shape{2});
  std::vector<Parameter> bn = weight("bn.weight");
  bn.push_back({"bn.running_mean", {2}, Initializer::zeros(), false});
  for (const int layer : {0, 1}) {
    const Scope stage(graph, "stage"), scope(graph, layer);
    graph::apply(graph, op, "conv", {x}, weight("conv.weight"));
    graph::apply(graph, op, "bn", {x}, bn);
  }
  graph::apply(graph, op, "top", {x}, weight("top"));
  const auto frozen = [&] {
    std::vector<std::string> names;
    for (const Parameter& parameter : graph.parameters()) {
      CHECK(parameter.is_trained() == (parameter.trainable && !parameter.frozen));
      if (parameter.frozen) names.push_back(parameter.name);
    }
    return names;
  };
  const std::pair<const char*, const char*> refused[] = {
      {"stag.*", "no weight has a name that matches 'stag.*'; the names near it are 'stage.*', 'top'"},
      {"stage", "no weight has a name that matches 'stage'; the names near it are 'stage.*', 'top'"},
      {"stage.2.conv.weight",
       "no weight has a name that matches 'stage.2.conv.weight'; the names near it are 'stage.0.*', 'stage.1.*'"},
      {"stage.1.con.*",
       "no weight has a name that matches 'stage.1.con.*'; the names near it are 'stage.1.conv.*', 'stage.1.bn.*'"},
      {"*.running_mean", "no weight has a name that matches '*.running_mean'; the names near it are 'stage.*', 'top'"},
      {"", "no weight has a name that matches ''; the names near it are 'stage.*', 'top'"}};
  for (const auto& [pattern, message] : refused) {
    CHECK_THROWS_WITH_AS(graph.freeze(pattern), message, Error);
  }
  CHECK(frozen().empty());
  CHECK(graph.frozen_count() == 0);
  graph.freeze("stage.?.bn.*");
  CHECK(frozen() == std::vector<std::string>{"stage.0.bn.weight", "stage.1.bn.weight"});
  graph.freeze("stage.[1-9].*");
  CHECK(frozen() == std::vector<std::string>{"stage.0.bn.weight", "stage.1.conv.weight", "stage.1.bn.weight"});
  graph.freeze("stage.1.conv.weight");
  CHECK(graph.frozen_count() == 6);
  CHECK(graph.trainable_count() == 10);
}

TEST_CASE("graph: a head has a name of its own, a vector of logits and a scalar loss, all of one graph") {
  Graph graph, other;
  const Value image = graph.input({3, 8, 8}), logits = apply_some(image, "logits");
  const Value loss = apply_some(logits, "loss", {}), foreign = apply_some(other.input({3, 8, 8}), "loss", {});
  const auto refused = [&](std::string_view name, Value l, Value s) {
    CHECK_THROWS_WITH_AS(graph::add_head(graph, name, l, s, LossKind::softmax_cross_entropy),
                         doctest::Contains(std::string(name).c_str()), Error);
  };
  refused("age", logits, logits);
  refused("age", image, loss);
  refused("age", logits, foreign);
  refused("age", foreign, loss);
  refused("age", logits, Value());
  CHECK(graph.heads().empty());
  graph::add_head(graph, "age", logits, loss, LossKind::softmax_cross_entropy);
  refused("age", logits, loss);
  REQUIRE(graph.heads().size() == 1);
  CHECK(graph.heads()[0].classes == 8);
  CHECK(graph.has_head("age"));
  CHECK(!graph.has_head("race"));
}

TEST_CASE("graph: invalid parameters are refused by name, and leave the graph unchanged") {
  Graph graph;
  const Scope scope(graph, "block");
  const auto refused = [&](const Parameter& parameter, const char* message) {
    const auto& p = parameter;
    CHECK_THROWS_WITH_AS(graph::add_parameter(graph, p.name, p.shape, p.initializer, p.trainable, p.type),
                         doctest::Contains(message), Error);
    const auto op = std::make_shared<const SomeOp>(Shape{2});
    CHECK_THROWS_WITH_AS(graph::apply(graph, op, "layer", {}, {parameter}), doctest::Contains(message), Error);
  };
  const Initializer ones = Initializer::ones();
  refused({"", {2}, ones}, "a parameter in the scope 'block.' has no name");
  refused({"w", {}, ones}, "parameter 'block.w': shape scalar found; 1 to 12 extents are allowed");
  refused({"w", Shape(13, 1), ones}, "1 to 12 extents are allowed");
  refused({"w", {2, -3}, ones}, "parameter 'block.w': shape 2x-3 found");
  refused({"w", {2, 0}, ones}, "shape 2x0 found");
  refused({"w", {1LL << 62, 4}, ones}, "at most 1099511627776 elements are allowed");
  refused({"w", {1LL << 20, 1LL << 21}, ones}, "at most 1099511627776 elements are allowed");
  refused({"w", {2}, Initializer::normal(std::nanf(""))}, "a finite number is needed");
  refused({"w", {2}, {static_cast<Initializer::Kind>(9), 1}}, "initializer of kind 9 found");
  refused({"w", {2}, ones, true, static_cast<DataType>(9)}, "type 9 found");
  refused({"count", {}, ones, true, DataType::s64}, "it must be a scalar that isn't trained");
  refused({"count", {2}, ones, false, DataType::s64}, "it must be a scalar that isn't trained");
  CHECK(graph.parameters().empty());
  CHECK(graph.nodes().empty());
  graph::add_parameter(graph, "count", {}, Initializer::zeros(), false, DataType::s64);
  graph::add_parameter(graph, "w", Shape(12, 1), ones);
  std::vector<Parameter> twice = weight("twin");
  twice.push_back(twice.front());
  CHECK_THROWS_WITH_AS(graph::apply(graph, std::make_shared<const SomeOp>(Shape{2}), "layer", {}, twice),
                       doctest::Contains("two parameters are called 'block.twin'"), Error);
  CHECK(graph.parameters().size() == 2);
}

TEST_CASE("graph: a null op, outputs of too many elements, and heads and scopes without a name are refused") {
  Graph graph;
  const Value x = graph.input({3, 8, 8});
  CHECK_THROWS_WITH_AS(graph::apply(graph, nullptr, "layer", {x}), "layer: the op is null", Error);
  CHECK_THROWS_WITH_AS(apply_some(x, "layer", {1LL << 62, 1LL << 62}), doctest::Contains("layer (some): shape"), Error);
  CHECK_THROWS_AS(apply_some(x, "layer", {-1}), Error);
  CHECK_THROWS_AS(Graph().input({3, 1LL << 40, 1LL << 40}), Error);
  CHECK_THROWS_WITH_AS(Scope(graph, ""), doctest::Contains("a scope within the scope"), Error);
  const Value logits = apply_some(x, "logits"), loss = apply_some(logits, "loss", {});
  CHECK_THROWS_WITH_AS(graph::add_head(graph, "", logits, loss, LossKind::softmax_cross_entropy), "a head has no name",
                       Error);
  CHECK(graph.nodes().size() == 3);
  CHECK(graph.nodes()[1].name == "logits");
}

TEST_CASE("graph: scopes may end in any order") {
  Graph graph;
  const Value x = graph.input({3, 8, 8});
  std::optional<Scope> outer(std::in_place, graph, "outer"), inner(std::in_place, graph, "inner");
  apply_some(x, "a");
  outer.reset();
  apply_some(x, "b");
  std::optional<Scope> last(std::in_place, graph, "last");
  inner.reset();
  apply_some(x, "c");
  last.reset();
  apply_some(x, "d");
  std::vector<std::string> names;
  for (const Node& node : graph.nodes()) names.push_back(node.name);
  CHECK(names == std::vector<std::string>{"input", "outer.inner.a", "inner.b", "last.c", "d"});
}

}  // namespace facet::testing
