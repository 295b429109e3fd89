#include "comm/ranks.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "facet/session.h"
#include "testing.h"
#include "train/rank_run.h"

using namespace facet;
using facet::test::is_same;
using facet::test::run_ranks;
using small::Outcome;
using small::sizes;
using small::Steps;

namespace {

constexpr float missing = std::numeric_limits<float>::quiet_NaN();

/// Trains in ranks, checks that all of them have the same bits, and compares with one process.
/// @param changes the tolerance of what was learnt, see small::check_equal.
void check_ranks(const Steps& steps, int size, const Outcome& expected, double losses, double changes) {
  CAPTURE(size);
  run_ranks(size, [&](ProcessGroup& group) {
    const Outcome found = small::train(steps, group);
    CHECK(is_same(group, small::bits(found.learnt)));
    CHECK(is_same(group, small::bits(found.gradients)));
    small::check_equal(found, expected, losses, changes);
  });
}

/// Steps whose changes are proportional to the gradients, so that they differ from one process's no more than these do.
/// Adam's first steps depend on their signs alone.
Steps proportional_steps() {
  Steps steps;
  steps.options.optimizer = OptimizerKind::sgd;
  steps.options.learning_rate = 0.05;
  return steps;
}

/// The tolerance of the losses after the first, and of what was learnt: weights lose a share of their change in
/// rounding.
constexpr double later = 2e-5, rounded = 2e-4;

void check_two_ranks(const Steps& steps, double changes = rounded) {
  check_ranks(steps, 2, small::train(steps), later, changes);
}

/// The images of a batch that a rank has.
PositionRange images_of(const Batch& batch, int rank, int size) { return share_of(batch.size, rank, size); }

/// Removes the labels that a head has for images of a batch.
void remove_labels(Batch& batch, std::size_t head, const PositionRange& images) {
  for (std::int64_t image = images.first; image < images.first + images.size; ++image) {
    batch.labels[head * static_cast<std::size_t>(batch.size) + static_cast<std::size_t>(image)] = no_label;
  }
}

/// Replaces the labels of the heads "colour" and "stripes" by distributions. Every third image has none of `colour`,
/// and rank 1's images in a group of 2 have none of `stripes`.
void add_distributions(Batch& batch) {
  const PositionRange none = images_of(batch, 1, 2);
  batch.targets.resize(3);
  for (const std::size_t head : {std::size_t{0}, std::size_t{2}}) {
    for (std::int64_t image = 0; image < batch.size; ++image) {
      const bool has = head == 0 ? image % 3 != 1 : image < none.first || image >= none.first + none.size;
      const auto part = static_cast<float>(image + 1) / static_cast<float>(batch.size + 1);
      for (const float value : {0.75F * part, 0.25F * part, 1 - part}) {
        batch.targets[head].push_back(has ? value : missing);
      }
    }
  }
}

/// Softmax and cross-entropy, as the mean over the labelled images: a loss of the caller's own.
double own_cross_entropy(const LossInput& input, std::span<float> gradient) {
  double labelled = 0, loss = 0;
  for (const std::int32_t label : input.labels) labelled += label == no_label ? 0 : 1;
  const auto outputs = static_cast<std::size_t>(input.outputs);
  for (std::size_t image = 0; image < input.labels.size(); ++image) {
    if (input.labels[image] == no_label) continue;
    const std::span<const float> logits = input.logits.subspan(image * outputs, outputs);
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
    const auto label = static_cast<std::size_t>(input.labels[image]);
    loss += (std::log(sum) - logits[label]) / labelled;
    for (std::size_t i = 0; !gradient.empty() && i < outputs; ++i) {
      const double probability = std::exp(static_cast<double>(logits[i])) / sum;
      gradient[image * outputs + i] = static_cast<float>((probability - (i == label ? 1 : 0)) / labelled);
    }
  }
  return loss;
}

/// A model whose head "side" has a loss of the caller's own.
Graph custom_model(const LossFunction& function) {
  Graph graph;
  Value x = graph.input({3, small::size, small::size});
  x = flatten(max_pool(relu(batch_norm(convolution(x, {.channels = 8}))), {}));
  const auto logits = [&](const Head& head) {
    return linear(x, {.features = std::ssize(head.classes), .name = head.name});
  };
  const std::vector<Head> heads = small::heads();
  softmax_cross_entropy(logits(heads[0]), heads[0].name);
  custom_loss(logits(heads[1]), heads[1].name, function);
  softmax_cross_entropy(logits(heads[2]), heads[2].name);
  return graph;
}

}  // namespace

TEST_CASE("ranks with synchronised batch normalisation train as one process does") {
  Steps steps;
  steps.batches = small::first_batches(20);
  const Outcome expected = small::train(steps);
  for (const int size : sizes) check_ranks(steps, size, expected, 1e-3, 0.2);
}

TEST_CASE("ranks without batch normalisation train as one process does") {
  Steps steps = proportional_steps();
  steps.options.sync_batch_norm = false;
  steps.model = small::plain_model;
  const Outcome expected = small::train(steps);
  for (const int size : sizes) check_ranks(steps, size, expected, later, rounded);
}

TEST_CASE("the same ranks learn the same bits") {
  for (const bool sync : {true, false}) {
    CAPTURE(sync);
    Steps steps;
    steps.options.sync_batch_norm = sync;
    steps.batches = small::first_batches(6);
    for (const int size : sizes) {
      run_ranks(size, [&](ProcessGroup& group) {
        const Outcome first = small::train(steps, group), second = small::train(steps, group);
        CHECK(first.learnt == second.learnt);
        CHECK(first.gradients == second.gradients);
        CHECK(is_same(group, small::bits(first.learnt)));
        for (std::size_t i = 0; i < steps.batches.size(); ++i) {
          CHECK(first.results[i].loss == second.results[i].loss);
          CHECK(is_same(group, std::to_string(first.results[i].loss)));
        }
      });
    }
  }
}

TEST_CASE("without synchronisation each rank normalises by its own images, and running statistics are averaged") {
  Steps steps = proportional_steps();
  steps.options.sync_batch_norm = false;
  steps.batches = small::first_batches(1);
  const Batch& batch = steps.batches.front();
  for (const int size : sizes) {
    // One process with each rank's images: its statistics are the rank's own.
    small::Learnt expected;
    for (int rank = 0; rank < size; ++rank) {
      const PositionRange images = images_of(batch, rank, size);
      Steps own = steps;
      own.batches = {small::part_of(batch, images)};
      for (const auto& [name, values] : small::train(own).learnt) {
        if (!contains(name, "running_")) continue;
        std::vector<float>& mean = expected[name];
        mean.resize(values.size());
        const double weight = static_cast<double>(images.size) / static_cast<double>(batch.size);
        for (std::size_t i = 0; i < values.size(); ++i) mean[i] += static_cast<float>(weight * values[i]);
      }
    }
    const Outcome one = small::train(steps);
    run_ranks(size, [&](ProcessGroup& group) {
      const Outcome found = small::train(steps, group);
      CHECK(is_same(group, small::bits(found.learnt)));
      small::Learnt statistics;
      for (const auto& [name, values] : found.learnt) {
        if (contains(name, "running_")) statistics[name] = values;
        if (contains(name, "num_batches_tracked")) CHECK(values == std::vector<float>{1});
      }
      small::check_values(statistics, expected, 2e-6, 1e-6);
      // The variance of fewer images is another.
      CHECK(statistics.at("stem.bn.running_var") != one.learnt.at("stem.bn.running_var"));
      CHECK(found.gradients.at("stem.conv.weight") != one.gradients.at("stem.conv.weight"));
    });
  }
}

TEST_CASE("each update rule takes the gradients of all ranks") {
  Steps steps = proportional_steps();
  SUBCASE("SGD with Nesterov's momentum and weight decay") {
    steps.options.nesterov = true;
    steps.options.weight_decay = 1e-2;
    check_two_ranks(steps);
  }
  SUBCASE("LARS") {
    steps.options.optimizer = OptimizerKind::lars;
    steps.options.learning_rate = 10;
    steps.options.weight_decay = 1e-3;
    check_two_ranks(steps);
  }
  SUBCASE("LAMB") {
    steps.options.optimizer = OptimizerKind::lamb;
    steps.options.learning_rate = 1e-2;
    steps.options.weight_decay = 1e-2;
    check_two_ranks(steps, 1e-2);
  }
  SUBCASE("AdamW") {
    steps.options.optimizer = OptimizerKind::adamw;
    steps.options.learning_rate = 1e-3;
    steps.options.weight_decay = 1e-2;
    check_two_ranks(steps, 1e-2);
  }
}

TEST_CASE("clipping takes the norm of all ranks' gradients") {
  Steps steps = proportional_steps();
  const Outcome plain = small::train(steps);
  small::Distance norm;
  for (const auto& [name, gradient] : plain.gradients) norm.add(gradient, gradient);
  steps.options.clip_norm = 0.25 * std::sqrt(norm.reference);
  const Outcome clipped = small::train(steps);
  CHECK(clipped.learnt != plain.learnt);
  check_ranks(steps, 2, clipped, later, rounded);
}

TEST_CASE("ranks keep the same moving average") {
  Steps steps = proportional_steps();
  steps.options.ema_decay = 0.5;
  steps.batches = small::first_batches(5);
  const Outcome expected = small::train(steps);
  CHECK(expected.learnt.at("evaluated.stem.conv.weight") != expected.learnt.at("stem.conv.weight"));
  CHECK(expected.learnt.at("evaluated.stem.bn.running_mean") != expected.learnt.at("stem.bn.running_mean"));
  check_ranks(steps, 2, expected, later, rounded);
}

TEST_CASE("weights that are read and set after a step are the same on all ranks, however late one of them is") {
  const Batch all = small::first_batches(1).front();
  const std::string name = small::heads()[0].name + ".hidden.weight";
  for (const int late : {0, 1, 2}) {
    CAPTURE(late);
    run_ranks(3, [&](ProcessGroup& group) {
      TrainOptions options = small::rank_options();
      options.processes = group;
      TrainingSession session(small::rank_model(), small::info(), options);
      for (int step = 0; step < 3; ++step) {
        session.step(small::share(all, group));
        if (group.rank() == late) std::this_thread::sleep_for(std::chrono::milliseconds(20));
        std::vector<float> values = session.get(name);
        CHECK(is_same(group, small::bits({{name, values}})));
        for (float& value : values) value *= 2;
        session.set(name, values);
      }
      CHECK(is_same(group, small::bits({{name, session.get(name)}})));
    });
  }
}

TEST_CASE("ranks leave frozen weights unchanged") {
  Steps steps = proportional_steps();
  steps.options.freeze = {"stem.*", "block.conv1.weight"};
  const Outcome expected = small::train(steps);
  for (const char* name : {"stem.conv.weight", "stem.bn.weight", "stem.bn.running_mean", "block.conv1.weight"}) {
    CHECK(expected.learnt.at(name) == expected.initial.at(name));
  }
  check_ranks(steps, 2, expected, later, rounded);
  run_ranks(2, [&](ProcessGroup& group) {
    const Outcome found = small::train(steps, group);
    for (const char* name : {"stem.conv.weight", "stem.bn.weight", "stem.bn.running_mean", "block.conv1.weight"}) {
      CHECK(found.learnt.at(name) == found.initial.at(name));
    }
  });
}

TEST_CASE("ranks accumulate over batches, the last step over fewer") {
  Steps steps = proportional_steps();
  steps.options.accumulate = 3;
  steps.batches = small::first_batches(5);
  SUBCASE("plain") {}
  SUBCASE("clipped") { steps.options.clip_norm = 0.5; }
  const Outcome expected = small::train(steps);
  CHECK(expected.results.back().step == 2);
  check_ranks(steps, 2, expected, later, rounded);
  check_ranks(steps, 3, expected, later, rounded);
}

TEST_CASE("saving memory changes no bit in ranks") {
  Steps steps = proportional_steps(), saving = proportional_steps();
  saving.options.save_memory = true;
  check_two_ranks(saving);
  for (const bool sync : {true, false}) {
    CAPTURE(sync);
    steps.options.sync_batch_norm = saving.options.sync_batch_norm = sync;
    run_ranks(2, [&](ProcessGroup& group) {
      const Outcome plain = small::train(steps, group), saved = small::train(saving, group);
      CHECK(saved.learnt == plain.learnt);
      CHECK(saved.gradients == plain.gradients);
    });
  }
}

TEST_CASE("the mean of a loss is that over all ranks' labels") {
  Steps steps = proportional_steps();
  SUBCASE("class weights") {
    steps.options.class_weights["colour"] = {.values = {0.1, 1, 7}};
    steps.options.class_weights["side"] = {.values = {3, 0}};
    steps.options.head_weights = {{"stripes", 0.3}};
  }
  SUBCASE("label smoothing") { steps.options.label_smoothing = 0.2; }
  SUBCASE("class weights and label smoothing") {
    steps.options.label_smoothing = 0.2;
    steps.options.class_weights["stripes"] = {.values = {5, 1, 0.5}};
  }
  SUBCASE("no label of a head on rank 1") {
    for (Batch& batch : steps.batches) remove_labels(batch, 1, images_of(batch, 1, 2));
  }
  SUBCASE("no label of a head on rank 0") {
    for (Batch& batch : steps.batches) remove_labels(batch, 2, images_of(batch, 0, 2));
  }
  SUBCASE("no label at all on rank 1") {
    for (Batch& batch : steps.batches) {
      for (std::size_t head = 0; head < 3; ++head) remove_labels(batch, head, images_of(batch, 1, 2));
    }
  }
  SUBCASE("no label of a head on any rank") {
    for (Batch& batch : steps.batches) remove_labels(batch, 1, {.first = 0, .size = batch.size});
    CHECK(std::isnan(small::train(steps).results[0].heads[1].loss));
  }
  SUBCASE("distributions") {
    for (Batch& batch : steps.batches) add_distributions(batch);
  }
  SUBCASE("distributions, with smoothing and class weights") {
    for (Batch& batch : steps.batches) add_distributions(batch);
    steps.options.label_smoothing = 0.1;
    steps.options.class_weights["colour"] = {.values = {0.1, 1, 7}};
  }
  check_two_ranks(steps);
}

TEST_CASE("a loss of the caller's own is averaged over the ranks by their labels") {
  Steps steps = proportional_steps();
  SUBCASE("labels on all ranks") {}
  SUBCASE("none on rank 1") {
    for (Batch& batch : steps.batches) remove_labels(batch, 1, images_of(batch, 1, 2));
  }
  steps.model = [] { return custom_model(own_cross_entropy); };
  const Outcome expected = small::train(steps);
  check_ranks(steps, 2, expected, later, rounded);
  steps.model = [] {
    return custom_model([](const LossInput& input, std::span<float> gradient) {
      if (input.images == 0) throw Error("the function is called for no image");
      if (std::ranges::all_of(input.labels, [](int label) { return label == no_label; })) {
        throw Error("the function is called for no label");
      }
      return own_cross_entropy(input, gradient);
    });
  };
  check_ranks(steps, 4, small::train(steps), later, rounded);
}

TEST_CASE("a batch of fewer images than ranks is trained by those that have one") {
  Steps steps = proportional_steps();
  const Batch full = steps.batches[0];
  steps.batches.clear();
  for (const std::int64_t images : {3, 13, 2, 1, 13}) {
    steps.batches.push_back(small::part_of(full, {.first = 0, .size = images}));
  }
  SUBCASE("a batch norm over all ranks") {}
  SUBCASE("accumulated") { steps.options.accumulate = 2; }
  SUBCASE("no batch norm") {
    steps.model = small::plain_model;
    steps.options.sync_batch_norm = false;
  }
  SUBCASE("clipped, averaged and saving memory") {
    steps.options.clip_norm = 0.5;
    steps.options.ema_decay = 0.5;
    steps.options.save_memory = true;
  }
  const Outcome expected = small::train(steps);
  for (const int size : sizes) check_ranks(steps, size, expected, later, rounded);
}

TEST_CASE("a batch of fewer images than ranks leaves ranks that normalise on their own with the same bits") {
  Steps steps = proportional_steps();
  steps.options.sync_batch_norm = false;
  const Batch full = steps.batches[0];
  steps.batches = {small::part_of(full, {.first = 0, .size = 1})};
  const Outcome one = small::train(steps);
  run_ranks(4, [&](ProcessGroup& group) {
    // Rank 0 has the only image: all is as in one process, the statistics too.
    const Outcome found = small::train(steps, group);
    CHECK(is_same(group, small::bits(found.learnt)));
    small::check_equal(found, one, 1e-6, rounded);
    Steps more = steps;
    more.batches = {full, small::part_of(full, {.first = 5, .size = 2}), full};
    const Outcome mixed = small::train(more, group);
    CHECK(is_same(group, small::bits(mixed.learnt)));
    CHECK(std::isfinite(mixed.results.back().loss));
  });
}

TEST_CASE("an evaluation in ranks counts each image once, as one process does") {
  Steps steps = proportional_steps();
  steps.options.ema_decay = 0.5;
  const small::Learnt weights = small::train(steps).learnt;
  const auto set = [&](TrainingSession& session) {
    for (Parameters* parameters : {&session.parameters(), &session.evaluated_parameters()}) {
      for (const Parameter& parameter : parameters->list()) {
        if (parameter.type != DataType::f32) continue;
        parameters->set(parameters->find(parameter.name), weights.at("evaluated." + parameter.name));
      }
    }
  };
  TrainingSession one(small::rank_model(), small::info(), steps.options);
  set(one);
  for (const int images : {21, 13, 2}) {
    CAPTURE(images);
    const MemoryDataset data = small::images(images, 2);
    const std::vector<HeadResult> expected = one.evaluate(data);
    for (const int size : sizes) {
      run_ranks(size, [&](ProcessGroup& group) {
        TrainOptions options = steps.options;
        options.processes = group;
        TrainingSession session(small::rank_model(), small::info(), options);
        set(session);
        const std::vector<HeadResult> found = session.evaluate(data);
        REQUIRE(found.size() == expected.size());
        for (std::size_t head = 0; head < expected.size(); ++head) {
          CAPTURE(head);
          CHECK(found[head].head == expected[head].head);
          CHECK(found[head].labelled == expected[head].labelled);
          CHECK(found[head].confusion == expected[head].confusion);
          CHECK(found[head].accuracy == expected[head].accuracy);
          CHECK(small::relative_error(found[head].loss, expected[head].loss) <= 1e-6);
          CHECK(is_same(group, std::to_string(found[head].loss)));
        }
      });
    }
  }
}

TEST_CASE("an evaluation that one rank stops ends for all ranks after the same batch") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      TrainOptions options = small::rank_options();
      options.processes = group;
      TrainingSession session(small::rank_model(), small::info(), options);
      const std::vector<HeadResult> heads =
          session.evaluate(small::validation_set(), [&] { return group.rank() == 1; });
      CHECK(heads[0].labelled == small::global_batch);
      CHECK(session.evaluate(small::validation_set())[0].labelled == 21);
    });
  }
}

TEST_CASE("a checkpoint of ranks is that of one process, which continues it, and the other way round") {
  Steps steps = proportional_steps();
  steps.options.ema_decay = 0.5;
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const facet::test::SharedFolder folder(group);
      const auto session = [&](const ProcessGroup& processes) {
        TrainOptions options = steps.options;
        options.processes = processes;
        return TrainingSession(small::rank_model(), small::info(), options);
      };
      TrainingSession ranks = session(group);
      for (const Batch& batch : steps.batches) ranks.step(small::share(batch, group));
      ranks.save_checkpoint(folder / "ranks");
      ranks.save(folder / "model.safetensors");
      const small::Learnt all = small::learnt(ranks);
      group.together([&] {
        if (group.rank() != 0) return;
        TrainingSession one = session({});
        one.load_checkpoint(folder / "ranks");
        CHECK(one.finished_steps() == 4);
        CHECK(small::learnt(one) == all);
        one.step(steps.batches[0]);
        one.save_checkpoint(folder / "one");
        Parameters saved(small::rank_model(), 0);
        load_weights(folder / "model.safetensors", saved);
        CHECK(saved.get(saved.find("stem.conv.weight")) == all.at("evaluated.stem.conv.weight"));
      });
      ranks.step(small::share(steps.batches[0], group));
      TrainingSession next = session(group);
      next.load_checkpoint(folder / "one");
      CHECK(next.finished_steps() == 5);
      CHECK(is_same(group, small::bits(small::learnt(next))));
      small::check_values(small::learnt(next), small::learnt(ranks), 1e-5, 1e-5);
    });
  }
}
