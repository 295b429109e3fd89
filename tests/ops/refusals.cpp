#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "facet/error.h"
#include "graph/op.h"
#include "ops/network.h"

// Invalid options are refused by name when the op is added, and leave the graph unchanged.

namespace facet::testing {
namespace {

constexpr std::int64_t huge = std::int64_t{1} << 62;

void refuses(const std::function<void(Value)>& add, const char* message) {
  Graph graph;
  const Value x = graph.input({3, 8, 8});
  CAPTURE(message);
  CHECK_THROWS_WITH_AS(add(x), doctest::Contains(message), Error);
  CHECK(graph.nodes().size() == 1);
  CHECK(graph.parameters().empty());
}

}  // namespace

TEST_CASE("ops: numbers that overflow are refused") {
  refuses([](Value x) { convolution(x, {.channels = huge}); }, "conv (convolution)");
  refuses([](Value x) { convolution(x, {.channels = 4, .kernel = huge}); }, "conv (convolution): kernel");
  refuses([](Value x) { convolution(x, {.channels = 4, .kernel = huge, .padding = huge}); }, "conv (convolution)");
  refuses([](Value x) { convolution(x, {.channels = 4, .stride = huge}); }, "stride 4611686018427387904");
  refuses([](Value x) { convolution(x, {.channels = 4, .kernel = 1, .padding = 1 << 30}); }, "elements are allowed");
  refuses([](Value x) { convolution(x, {.channels = 4, .padding = -2}); }, "padding -2 found");
  refuses([](Value x) { convolution(x, {.channels = 4, .groups = -1}); }, "groups");
  refuses([](Value x) { convolution(x, {.channels = -4}); }, "conv (convolution)");
  refuses([](Value x) { max_pool(x, {.kernel = huge}); }, "max_pool (max_pool): kernel");
  refuses([](Value x) { max_pool(x, {.padding = huge}); }, "padding 4611686018427387904 found");
  refuses([](Value x) { average_pool(x, {.kernel = 2, .stride = huge}); }, "stride");
  refuses([](Value x) { adaptive_average_pool(x, {.height = huge, .width = huge}); }, "elements are allowed");
  for (const std::int64_t features : {huge, std::int64_t{1} << 36, std::int64_t{0}, std::int64_t{-1}}) {
    Graph graph;
    const Value x = flatten(graph.input({3, 8, 8}));
    CHECK_THROWS_WITH_AS(linear(x, {.features = features}), doctest::Contains("linear (linear)"), Error);
    CHECK(graph.nodes().size() == 2);
    CHECK(graph.parameters().empty());
  }
}

TEST_CASE("ops: batch_norm needs a finite eps of at least 0 and a momentum of 0 to 1") {
  const float nan = std::nanf(""), infinity = std::numeric_limits<float>::infinity();
  for (const float eps : {nan, infinity, -1e-5F}) refuses([&](Value x) { batch_norm(x, {.eps = eps}); }, "eps");
  for (const float momentum : {nan, infinity, -0.1F, 2.0F}) {
    refuses([&](Value x) { batch_norm(x, {.momentum = momentum}); }, "momentum");
  }
}

TEST_CASE("ops: a wrong number of inputs, and missing or wrong parameters, are refused") {
  Graph graph;
  const Value x = graph.input({3, 8, 8});
  std::vector<Value> values{
      relu(x),        relu6(x),        convolution(x, {.channels = 4}), batch_norm(x), add(x, x),
      concat({x, x}), max_pool(x, {}), adaptive_average_pool(x, {}),    flatten(x),    dropout(x)};
  values.push_back(linear(values[8], {.features = 4}));
  softmax_cross_entropy(values.back(), "head");
  binary_cross_entropy(values[10], "labels");
  mean_squared_error(values[10], "number");
  custom_loss(values[10], "own", [](const LossInput&, std::span<float>) { return 0.0; });
  const std::size_t count = graph.nodes().size();
  for (std::size_t i = 1; i < count; ++i) {
    const auto op = graph.nodes()[i].op;
    CAPTURE(graph.nodes()[i].name);
    CHECK_THROWS_WITH_AS(graph::apply(graph, op, "again", {}), doctest::Contains("inputs found"), Error);
    if (op->kind() == "concat") continue;
    CHECK_THROWS_WITH_AS(graph::apply(graph, op, "again", {x, x, x}), doctest::Contains("3 inputs found"), Error);
  }
  CHECK(graph.nodes().size() == count);

  const Problem problem = make_problem([](Value image) {
    const auto op = convolution(image, {.channels = 4}).graph().nodes().back().op;
    return graph::apply(image.graph(), op, "bare", {image}, {});
  });
  Parameters parameters(problem.graph, 1);
  CHECK_THROWS_WITH_AS(inference_session(problem, parameters), doctest::Contains("bare (convolution)"), Error);

  const Problem narrow = make_problem([](Value image) {
    const auto op = convolution(image, {.channels = 4}).graph().nodes().back().op;
    return graph::apply(image.graph(), op, "narrow", {image}, {{"narrow.weight", {4, 3, 1, 1}, Initializer::ones()}});
  });
  Parameters fewer(narrow.graph, 1);
  CHECK_THROWS_WITH_AS(inference_session(narrow, fewer), doctest::Contains("as many elements"), Error);
}

TEST_CASE("program: invalid batch sizes and precisions are refused") {
  const Problem problem = make_problem([](Value x) { return relu(x); });
  Parameters parameters(problem.graph, 1);
  for (const std::int64_t batch : {std::int64_t{0}, std::int64_t{-1}, huge, (std::int64_t{1} << 20) + 1}) {
    CHECK_THROWS_WITH_AS(Session(problem.graph, parameters, {.batch = batch}), doctest::Contains("batch"), Error);
  }
  CHECK_THROWS_WITH_AS(Session(problem.graph, parameters, {.precision = static_cast<Precision>(7)}),
                       doctest::Contains("precision is 7"), Error);
}

TEST_CASE("parameters that were moved from throw") {
  const Problem problem = make_problem([](Value x) { return relu(x); });
  Parameters parameters(problem.graph, 1);
  Parameters moved = std::move(parameters);
  CHECK_THROWS_WITH_AS(parameters.list(), doctest::Contains("moved from"), Error);  // NOLINT(bugprone-use-after-move)
  CHECK_THROWS_AS(parameters.find("head.weight"), Error);
  CHECK_THROWS_AS(parameters.get(0), Error);
  CHECK_THROWS_AS(parameters.set(0, {}), Error);
  CHECK_THROWS_AS(parameters.get_counter(0), Error);
  CHECK_THROWS_AS(parameters.set_counter(0, 1), Error);
  CHECK_THROWS_AS(inference_session(problem, parameters), Error);
  parameters = std::move(moved);
  CHECK(parameters.list().size() == 2);
}

}  // namespace facet::testing
