#include <doctest/doctest.h>

#include <algorithm>

#include "facet/summary.h"
#include "program/small_model.h"

namespace facet::testing {
namespace {

const NodeCost& find(const std::vector<NodeCost>& costs, const std::string& name) {
  const auto found = std::find_if(costs.begin(), costs.end(), [&](const auto& cost) { return cost.name == name; });
  REQUIRE_MESSAGE(found != costs.end(), name);
  return *found;
}

}  // namespace

TEST_CASE("costs: FLOPs of convolutions and linear layers agree with values computed by hand") {
  Graph graph;
  Value x = convolution(graph.input({3, 20, 30}), {.channels = 8, .kernel = 5, .stride = 2, .name = "a"});
  x = convolution(x, {.channels = 16, .name = "b"});
  x = convolution(x, {.channels = 16, .groups = 16, .name = "c"});
  add_linear_head(x, 7, "head");
  const std::vector<NodeCost> costs = facet::costs(graph);
  REQUIRE(costs.size() == graph.nodes().size());

  const double a = 2.0 * 3 * 25 * 8 * 10 * 15, b = 2.0 * 8 * 9 * 16 * 10 * 15, c = 2.0 * 9 * 16 * 10 * 15;
  CHECK(find(costs, "a").forward_flops == a);
  CHECK(find(costs, "a").training_flops == 2 * a);  // the image's gradient isn't computed
  CHECK(find(costs, "b").forward_flops == b);
  CHECK(find(costs, "b").training_flops == 3 * b);
  CHECK(find(costs, "c").forward_flops == c);
  CHECK(find(costs, "c").training_flops == 3 * c);
  CHECK(find(costs, "b").op == "convolution");
  CHECK(find(costs, "b").shape == Shape{16, 10, 15});
  CHECK(find(costs, "b").parameters == 8 * 9 * 16);
  const NodeCost head = find(costs, "head");
  CHECK(head.parameters == 2400 * 7 + 7);
  CHECK(head.forward_flops == doctest::Approx(2.0 * 2400 * 7).epsilon(0.001));
}

TEST_CASE("costs: backward is counted only where a gradient is needed, as in a program") {
  Problem problem = make_problem([](Value x) {
    x = relu(convolution(max_pool(x, {.kernel = 2}), {.channels = 8, .name = "a"}));
    return convolution(x, {.channels = 8, .name = "b"});
  });
  const auto passes = [](const Problem& p, const std::string& node) {
    const NodeCost cost = find(facet::costs(p.graph), node);
    return cost.training_flops / cost.forward_flops;
  };
  CHECK(passes(problem, "max_pool") == 1);  // its input is the image: no gradient
  CHECK(passes(problem, "a") == 2);         // no gradient of its input: no parameter is before it
  CHECK(passes(problem, "relu") == 2);
  CHECK(passes(problem, "b") == 3);
  const Problem frozen = with_frozen(problem, "a.weight");
  CHECK(passes(frozen, "a") == 1);
  CHECK(passes(frozen, "relu") == 1);
  CHECK(passes(frozen, "b") == 2);
  CHECK(passes(with_frozen(problem, "b.weight"), "b") == 2);
}

TEST_CASE("costs: the nodes' parameters add up to all trainable ones, frozen or not") {
  Problem problem = small_model(1);
  problem.graph.freeze("stem.*");
  std::int64_t sum = 0;
  for (const NodeCost& cost : facet::costs(problem.graph)) sum += cost.parameters;
  CHECK(sum == problem.graph.trainable_count());
}

}  // namespace facet::testing
