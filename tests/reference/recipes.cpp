#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "optim/gradient_policy.h"
#include "optim/optimizer.h"
#include "reference/reference_file.h"

namespace facet::testing {
namespace {

/// The network of make_references.py's recipes, whose first layer is frozen.
Graph network(const Shape& pixels, int classes) {
  Graph graph;
  Value x = graph.input({3, pixels.at(3), pixels.at(4)});
  x = relu(convolution(x, {.channels = 8, .stride = 2, .bias = true, .name = "front"}));
  x = relu(linear(flatten(x), {.features = 12, .name = "hidden"}));
  softmax_cross_entropy(linear(x, {.features = classes, .name = "head"}), "head");
  graph.freeze("front.*");
  return graph;
}

}  // namespace

TEST_CASE("update rules: accumulated and clipped gradients, an average and a frozen layer agree with PyTorch") {
  if (!have_references()) return;
  const ReferenceFile reference("recipes");
  const Shape shape = reference.shape("pixels");  // {steps, batches, batch, height, width, 3}
  const std::vector<std::uint8_t> pixels = reference.pixels();
  const std::vector<std::int32_t> labels = reference.labels();
  const optim::ParameterGroups decay{.weight_decay = 0.05, .decays_vectors = false};
  std::vector<std::pair<std::string, std::unique_ptr<optim::Optimizer>>> rules;
  rules.emplace_back("sgd", optim::sgd({.momentum = 0.9, .groups = decay}));
  rules.emplace_back("adamw", optim::adamw({.groups = decay}));
  rules.emplace_back("lars", optim::lars({.trust_coefficient = 0.1, .groups = decay}));
  rules.emplace_back("lamb", optim::lamb({.groups = decay}));
  for (const auto& [name, rule] : rules) {
    CAPTURE(name);
    const Graph graph = network(shape, static_cast<int>(reference.shape("start.head.bias").at(0)));
    Parameters parameters(graph, 1), average(graph, 1);
    for (const Parameter& parameter : parameters.list()) {
      parameters.set(parameters.find(parameter.name), reference.read("start." + parameter.name));
    }
    const std::int64_t steps = shape.at(0), batches = shape.at(1), batch = shape.at(2);
    Session session(graph, parameters,
                    {.batch = batch,
                     .mode = program::Mode::training,
                     .mean = {0.5F, 0.5F, 0.5F},
                     .std = {0.25F, 0.25F, 0.25F},
                     .optimizer = rule.get(),
                     .gradient_policy = optim::update_policy({.accumulate = true, .clip_norm = 1}),
                     .average = &average,
                     .average_decay = 0.75});
    const float rate = name == "sgd" ? 0.1F : name == "lars" ? 0.5F : 0.01F;
    const base::ComputeScope scope(test_threads);
    for (std::int64_t i = 0; i < steps * batches; ++i) {
      session.program().run({.pixels = pixels.data() + i * batch * shape.at(3) * shape.at(4) * 3,
                             .labels = labels.data() + i * batch,
                             .step = i / batches + 1,
                             .learning_rate = rate,
                             .batches_before = i % batches,
                             .update = i % batches + 1 == batches});
    }
    for (const Parameter& parameter : parameters.list()) {
      CAPTURE(parameter.name);
      const int index = parameters.find(parameter.name);
      const bool frozen = parameter.name.starts_with("front");
      const std::vector<float> start = reference.read("start." + parameter.name);
      CHECK(max_difference(parameters.get(index), reference.read(name + "." + parameter.name)) <= 5e-6);
      CHECK(max_difference(average.get(index), reference.read(name + ".average." + parameter.name)) <= 5e-6);
      CHECK((parameters.get(index) == start) == frozen);
    }
  }
}

}  // namespace facet::testing
