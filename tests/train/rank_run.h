#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "comm/ranks.h"
#include "facet/ops.h"
#include "facet/sampler.h"
#include "facet/session.h"
#include "train/session.h"
#include "train/small_run.h"

/// Sessions and runs in several ranks, and how far their results are from those of one process.
namespace small {

/// Images in a batch of all ranks: ranks' shares differ for any number of them.
inline constexpr std::int64_t global_batch = 13;

/// The numbers of ranks that are tested.
inline constexpr std::array sizes{2, 3, 4};

inline facet::TrainOptions rank_options() {
  facet::TrainOptions result = options();
  result.batch = global_batch;
  result.threads = result.loader_threads = 1;
  result.keep_gradients = true;
  result.sync_batch_norm = true;
  return result;
}

inline void add_heads(facet::Value x, const std::vector<facet::Head>& heads) {
  for (const facet::Head& head : heads) {
    const facet::Scope scope(x.graph(), head.name);
    const facet::Value hidden = dropout(relu(linear(x, {.features = 32, .name = "hidden"})), 0.25F);
    const std::int64_t classes = std::ssize(head.classes);
    if (head.ordinal) {
      coral_loss(coral(hidden, {.classes = classes, .name = "logits"}), head.name);
    } else {
      softmax_cross_entropy(linear(hidden, {.features = classes, .name = "logits"}), head.name);
    }
  }
}

/// small::model() at half the resolution. Convolutions sum fewer products then, and a gradient less rounding.
inline facet::Graph rank_model_of(const std::vector<facet::Head>& heads) {
  facet::Graph graph;
  facet::Value x = graph.input({3, size, size});
  {
    const facet::Scope stem(graph, "stem");
    x = relu(batch_norm(convolution(x, {.channels = 16, .stride = 2})));
  }
  x = max_pool(x, {});
  {
    const facet::Scope block(graph, "block");
    const facet::Value y = relu(batch_norm(convolution(x, {.channels = 16, .name = "conv1"}), {.name = "bn1"}));
    x = relu(add(batch_norm(convolution(y, {.channels = 16, .name = "conv2"}), {.name = "bn2"}), x));
  }
  add_heads(flatten(max_pool(x, {})), heads);
  return graph;
}
inline facet::Graph rank_model() { return rank_model_of(heads()); }

/// The model without batch normalisation: nothing in it depends on other images of the batch.
inline facet::Graph plain_model() {
  facet::Graph graph;
  facet::Value x = graph.input({3, size, size});
  x = max_pool(relu(convolution(x, {.channels = 16, .stride = 2, .bias = true, .name = "conv1"})), {});
  x = relu(add(convolution(x, {.channels = 16, .bias = true, .name = "conv2"}), x));
  add_heads(flatten(max_pool(x, {})), heads());
  return graph;
}

/// The first `count` batches of one process: of 13, 13, 13 and 6 images in each epoch, some without a label.
inline std::vector<facet::Batch> first_batches(std::size_t count) {
  facet::Loader loader(train_set(), {.batch = global_batch, .size = size, .threads = 1, .seed = 5});
  std::vector<facet::Batch> made;
  for (std::int64_t epoch = 1; made.size() < count; ++epoch) {
    loader.start_epoch(epoch);
    for (const facet::Batch* next = loader.next(); next != nullptr && made.size() < count; next = loader.next()) {
      made.push_back(*next);
    }
  }
  return made;
}

/// Some of a batch's images, with their labels and targets.
inline facet::Batch part_of(const facet::Batch& all, const facet::PositionRange& images) {
  const auto of_all = static_cast<std::size_t>(all.size);
  // `values` has a row for each image from `begin` on.
  const auto append = [&](const auto& values, std::size_t begin, std::size_t row, auto& part) {
    const auto first =
        values.begin() + static_cast<std::ptrdiff_t>(begin + static_cast<std::size_t>(images.first) * row);
    part.insert(part.end(), first, first + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(images.size) * row));
  };
  facet::Batch part;
  part.size = images.size;
  append(all.pixels, 0, all.pixels.size() / of_all, part.pixels);
  for (std::size_t head = 0; head < all.labels.size() / of_all; ++head) {
    append(all.labels, head * of_all, 1, part.labels);
  }
  for (const std::vector<float>& targets : all.targets) {
    append(targets, 0, targets.size() / of_all, part.targets.emplace_back());
  }
  return part;
}

/// A rank's share of a batch of all ranks.
inline facet::Batch share(const facet::Batch& all, const facet::ProcessGroup& group) {
  return part_of(all, facet::share_of(all.size, group.rank(), group.size()));
}

/// What the processes of a session have learnt, each of which has its share of the optimiser's state: the whole, in all
/// of them. They call it together.
inline Learnt learnt(facet::TrainingSession& session) {
  const facet::Parameters &parameters = session.parameters(), &evaluated = session.evaluated_parameters();
  facet::comm::Communicator& group = session.state().group();
  // Zeros, to be overwritten.
  const auto like = [&](int index, int) { return std::vector<float>(parameters.get(index).size()); };
  Learnt values = learnt(parameters, like);
  session.state().slots().save_on_first_rank(
      [&](const facet::train::ReadSlot& read) { values = learnt(parameters, read); });
  for (const facet::Parameter& parameter : parameters.list()) {
    for (const std::string& slot : parameters.state().slot_names) {
      if (parameter.is_trained()) group.broadcast(std::span<float>(values.at(parameter.name + "." + slot)));
    }
  }
  for (const facet::Parameter& parameter : evaluated.list()) {
    values["evaluated." + parameter.name] = evaluated.get(evaluated.find(parameter.name));
  }
  return values;
}

/// The gradients of the last step.
inline Learnt gradients(facet::TrainingSession& session) {
  Learnt values;
  for (const facet::Parameter& parameter : session.parameters().list()) {
    if (parameter.is_trained()) values[parameter.name] = session.gradient(parameter.name);
  }
  return values;
}

/// All bits of what was learnt, to compare those of ranks.
inline std::string bits(const Learnt& learnt) {
  std::string text;
  for (const auto& [name, values] : learnt) {
    text += name + ' ' + std::to_string(values.size()) + ' ';
    text.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }
  return text;
}

/// What a loop of steps trains.
struct Steps {
  facet::TrainOptions options = rank_options();
  std::vector<facet::Batch> batches = first_batches(4);  ///< of all ranks
  std::function<facet::Graph()> model = rank_model;
};

struct Outcome {
  std::vector<facet::BatchResult> results;  ///< by batch
  Learnt initial, learnt;
  Learnt gradients;  ///< of the first step
};

/// Trains on the rank's share of each batch. Steps have TrainOptions::accumulate batches, the last one those that are
/// left.
inline Outcome train(const Steps& steps, const facet::ProcessGroup& group = {}) {
  facet::TrainOptions options = steps.options;
  options.processes = group;
  facet::TrainingSession session(steps.model(), info(), options);
  Outcome outcome;
  outcome.initial = learnt(session);
  for (std::size_t i = 0; i < steps.batches.size(); ++i) {
    const bool ends = (i + 1) % static_cast<std::size_t>(options.accumulate) == 0 || i + 1 == steps.batches.size();
    outcome.results.push_back(session.step(share(steps.batches[i], group), {.update = ends}));
    if (ends && outcome.gradients.empty() && options.keep_gradients) outcome.gradients = gradients(session);
  }
  outcome.learnt = learnt(session);
  return outcome;
}

inline double relative_error(double found, double expected) {
  if (std::isnan(found) && std::isnan(expected)) return 0;
  return found == expected ? 0 : std::abs(found - expected) / std::abs(expected);
}

/// Sums of squares.
struct Distance {
  double difference = 0, reference = 0;

  void add(const std::vector<float>& found, const std::vector<float>& expected, const std::vector<float>& origin = {}) {
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double wanted = expected[i], from = origin.empty() ? 0 : static_cast<double>(origin[i]);
      difference += (found[i] - wanted) * (found[i] - wanted);
      reference += (wanted - from) * (wanted - from);
    }
  }
  /// The ratio of the L2 norms; infinite where the reference is 0 and the other isn't, and NaN where one is not finite.
  double relative() const { return difference == 0 ? 0 : std::sqrt(difference) / std::sqrt(reference); }
};

/// Checks the loss of each head and of their sum.
inline void check_losses(const facet::BatchResult& found, const facet::BatchResult& expected, double tolerance) {
  CAPTURE(expected.step);
  CHECK(found.step == expected.step);
  CHECK(relative_error(found.loss, expected.loss) <= tolerance);
  REQUIRE(found.heads.size() == expected.heads.size());
  for (std::size_t head = 0; head < expected.heads.size(); ++head) {
    CAPTURE(head);
    CHECK(relative_error(found.heads[head].loss, expected.heads[head].loss) <= tolerance);
    CHECK(found.heads[head].labelled == expected.heads[head].labelled);
  }
}

/// Checks the relative L2 errors of each parameter's values, and of all of them as one vector.
/// @param origin the values whose changes are compared; empty: zeros.
inline void check_values(const Learnt& found, const Learnt& expected, double tolerance, double tolerance_of_all,
                         const Learnt& origin = {}) {
  Distance all;
  REQUIRE(found.size() == expected.size());
  for (const auto& [name, values] : expected) {
    CAPTURE(name);
    REQUIRE(found.contains(name));
    const std::vector<float> from = origin.empty() ? std::vector<float>() : origin.at(name);
    Distance own;
    own.add(found.at(name), values, from);
    all.add(found.at(name), values, from);
    CHECK(own.relative() <= tolerance);
  }
  CHECK(all.relative() <= tolerance_of_all);
}

/// How far the gradients of ranks may be from those of one process: as one vector, and those of one parameter. The
/// second is what rounding in f32 leaves: where the images of a batch are in another order (and nothing is dropped),
/// the gradients of one process differ by up to 0.5e-6 as one vector, but by up to 1.2e-6 for single parameters, mostly
/// the first convolution's weights, whose sum over all pixels cancels for the most part, and biases of few elements.
inline constexpr double gradient_tolerance = 1e-6, parameter_tolerance = 3e-6;

/// Checks that ranks compute what one process does: the loss of the first step to 1e-6, and its gradients.
/// @param losses the tolerance of later losses. @param changes that of what was learnt in all steps.
inline void check_equal(const Outcome& found, const Outcome& expected, double losses, double changes) {
  CHECK(found.initial == expected.initial);
  REQUIRE(found.results.size() == expected.results.size());
  check_losses(found.results.front(), expected.results.front(), 1e-6);
  for (std::size_t i = 1; i < expected.results.size(); ++i) {
    check_losses(found.results[i], expected.results[i], losses);
  }
  check_values(found.gradients, expected.gradients, parameter_tolerance, gradient_tolerance);
  check_values(found.learnt, expected.learnt, changes, changes, expected.initial);
}

}  // namespace small
