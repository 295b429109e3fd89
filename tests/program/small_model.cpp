#include "program/small_model.h"

#include <cstring>

namespace facet::testing {

Problem small_model(std::int64_t batch, bool dropouts, std::uint64_t seed) {
  Problem problem;
  problem.batch = batch;
  Graph& graph = problem.graph;
  Value x = graph.input({3, 24, 24});
  {
    const Scope scope(graph, "stem");
    x = relu(batch_norm(convolution(x, {.channels = 16, .kernel = 7, .stride = 2})));
  }
  x = max_pool(x, {.kernel = 2});
  {
    const Scope scope(graph, "residual");
    Value y = relu(batch_norm(convolution(x, {.channels = 16, .name = "conv1"}), {.name = "bn1"}));
    y = batch_norm(convolution(y, {.channels = 16, .name = "conv2"}), {.name = "bn2"});
    x = relu(add(y, x));
  }
  x = flatten(x);
  const float rate = dropouts ? 0.5F : 0.0F;
  add_linear_head(dropout(relu(linear(x, {.features = 24, .name = "hidden1"})), rate), 5, "first");
  add_linear_head(alpha_dropout(relu(linear(x, {.features = 16, .name = "hidden2"})), rate), 2, "second");
  problem.pixels = random_pixels(batch * 24 * 24, seed);
  problem.labels = random_labels(graph, batch, seed);
  return problem;
}

Problem first_images(const Problem& problem, Graph graph, std::int64_t batch) {
  Problem part{std::move(graph), batch, {}, {}};
  const std::size_t image = problem.pixels.size() / static_cast<std::size_t>(problem.batch);
  part.pixels.assign(problem.pixels.begin(),
                     problem.pixels.begin() + static_cast<std::ptrdiff_t>(image * static_cast<std::size_t>(batch)));
  for (std::size_t head = 0; head < problem.graph.heads().size(); ++head) {
    const auto first =
        problem.labels.begin() + static_cast<std::ptrdiff_t>(head * static_cast<std::size_t>(problem.batch));
    part.labels.insert(part.labels.end(), first, first + batch);
  }
  return part;
}

TrainingSession::TrainingSession(const Problem& problem, Parameters& parameters, Precision precision, bool accumulate,
                                 double clip_norm, bool save_memory)
    : optimizer_(optim::adam()),
      session_(problem.graph, parameters,
               {.batch = problem.batch,
                .precision = precision,
                .mode = program::Mode::training,
                .mean = {0.5F, 0.5F, 0.5F},
                .std = {0.3F, 0.3F, 0.3F},
                .seed = 3,
                .save_memory = save_memory,
                .optimizer = optimizer_.get(),
                .gradient_policy = optim::update_policy({.accumulate = accumulate, .clip_norm = clip_norm})}) {}

Trained train_on_poison(const Problem& problem, Precision precision, bool save_memory) {
  Parameters parameters(problem.graph, 1);
  TrainingSession training(problem, parameters, precision, false, 0, save_memory);
  Trained trained;
  trained.arena_bytes = training.session().program().arena_bytes();
  std::memset(training.session().arena().data(), 0xFF, trained.arena_bytes);
  for (int step = 1; step <= 3; ++step) trained.losses.push_back(training.step(problem, step));
  trained.parameters = snapshot(parameters);
  return trained;
}

}  // namespace facet::testing
