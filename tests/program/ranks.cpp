#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/bf16.h"
#include "base/parallel.h"
#include "comm/thread_transport.h"
#include "facet/error.h"
#include "program/parameter_store.h"
#include "program/small_model.h"
#include "testing.h"

// Programs of several processes that train one model: threads of this process stand for them.

namespace facet::testing {
namespace {

using test::run_on_threads;

/// The mean over the labelled images of a quadratic form of the outputs.
double quadratic_loss(const LossInput& input, std::span<float> gradient) {
  const auto labelled = std::ranges::count_if(input.labels, [](std::int32_t label) { return label >= 0; });
  double loss = 0;
  for (std::int64_t i = 0; i < input.images * input.outputs; ++i) {
    if (input.labels[static_cast<std::size_t>(i / input.outputs)] < 0) continue;
    const float value = input.logits[static_cast<std::size_t>(i)];
    loss += 0.5 * value * value / static_cast<double>(labelled);
    if (!gradient.empty()) gradient[static_cast<std::size_t>(i)] = value / static_cast<float>(labelled);
  }
  return loss;
}

/// A network without batch normalisation, whose heads have each kind of loss; some targets are missing.
Problem plain_model(std::int64_t batch, std::uint64_t seed = 1, LossFunction loss = quadratic_loss) {
  Problem problem;
  problem.batch = batch;
  Graph& graph = problem.graph;
  Value x = relu(convolution(graph.input({3, 8, 8}), {.channels = 8, .bias = true, .name = "front"}));
  x = dropout(relu(linear(flatten(max_pool(x, {.kernel = 2})), {.features = 12, .name = "hidden"})), 0.3F);
  add_linear_head(x, 5, "classes");
  add_linear_head(x, 3, "attributes", LossKind::binary_cross_entropy);
  add_linear_head(x, 2, "values", LossKind::mean_squared_error);
  custom_loss(linear(x, {.features = 2, .name = "own"}), "own", std::move(loss));
  problem.pixels = random_pixels(batch * 8 * 8, seed);
  problem.labels = random_labels(graph, batch, seed);
  for (std::size_t i = 0; i < problem.labels.size(); i += 3) problem.labels[i] = -1;
  problem.targets = random_targets(graph, batch, seed, 0.3);
  return problem;
}

/// A batch of a step, and how many of its images each rank has.
struct Batch {
  Problem whole;
  std::vector<std::int64_t> rank_images;
};

/// The images of a batch from `begin` on, under a graph of their own.
Problem part_of(const Problem& whole, Graph graph, std::int64_t begin, std::int64_t count) {
  Problem part{std::move(graph), count, {}, {}, {}};
  const auto at = [](const auto& values, std::int64_t first) { return values.begin() + first; };
  const std::int64_t image = std::ssize(whole.pixels) / whole.batch;
  part.pixels.assign(at(whole.pixels, begin * image), at(whole.pixels, (begin + count) * image));
  for (std::int64_t head = 0; head < std::ssize(whole.graph.heads()); ++head) {
    const std::int64_t first = head * whole.batch + begin;
    part.labels.insert(part.labels.end(), at(whole.labels, first), at(whole.labels, first + count));
  }
  for (const std::vector<float>& values : whole.targets) {
    const std::int64_t outputs = std::ssize(values) / whole.batch;
    part.targets.emplace_back(at(values, begin * outputs), at(values, (begin + count) * outputs));
  }
  return part;
}

/// reduce_policy(), with an instruction in backward that fails.
class FailInBackward final : public optim::GradientPolicy {
 public:
  explicit FailInBackward(std::shared_ptr<optim::GradientPolicy> policy) : policy_(std::move(policy)) {}

  bool stores_gradients() const override { return policy_->stores_gradients(); }
  comm::BucketExchange* exchange() override { return policy_->exchange(); }
  void begin(optim::StepBuilder& step) override { policy_->begin(step); }
  void before_read(optim::StepBuilder& step, int parameter) override { policy_->before_read(step, parameter); }
  void wait() override { policy_->wait(); }
  void abandon() override { policy_->abandon(); }
  void gradient_ready(optim::StepBuilder& step, int parameter, const lowering::Tensor& gradient) override {
    policy_->gradient_ready(step, parameter, gradient);
    if (step.deferred().size() != 3) return;
    step.append("failing", "fail", {},
                [](std::span<void* const>, lowering::RunState&) { throw Error("backward has failed"); });
  }
  void backward_done(optim::StepBuilder& step) override { policy_->backward_done(step); }

 private:
  std::shared_ptr<optim::GradientPolicy> policy_;
};

struct Recipe {
  std::function<Graph()> network = [] { return plain_model(1).graph; };
  optim::UpdateOptions update = {};
  std::shared_ptr<optim::Optimizer> rule = optim::adam();
  std::int64_t batches_per_step = 1;
  bool has_average = false;
  bool has_copies = false;  ///< of the weights, in bf16
  bool save_memory = false;
  bool poison = false;
  int failing_rank = -1;  ///< whose backward fails
  bool shares = true;     ///< ranks of a host read each other's memory
  int on_host = 0;        ///< ranks of each host; 0: all
};

/// A rank, its parameters and programs.
class Rank {
 public:
  Rank(const ProcessGroup& group, const Recipe& recipe)
      : group_(group),
        recipe_(recipe),
        graph_(recipe.network()),
        parameters_(random_parameters(graph_)),
        average_(graph_, 0),
        policy_(optim::reduce_policy(group.communicator(), recipe.update)) {
    if (recipe.has_copies) place_copies();
    if (recipe.shares) parameters_.state().share();
    if (recipe.has_copies) plan_ = parameters_.state().plan;
    if (group.rank() == recipe.failing_rank) policy_ = std::make_shared<FailInBackward>(policy_);
    session(2);  // the first program places the parameters, which must lie in the same order on all ranks
  }

  /// Runs the batch with this number, from 0 on.
  void run(const Batch& batch, std::int64_t number) {
    const auto own = batch.rank_images.begin() + group_.rank();
    const std::int64_t begin = std::accumulate(batch.rank_images.begin(), own, std::int64_t{0});
    const Problem part = part_of(batch.whole, recipe_.network(), begin, *own);
    program::Program& program = session(*own > 0 ? *own : 2).program();
    const base::ComputeScope scope(1);
    group_.together([&] {
      program.run({.pixels = *own > 0 ? part.pixels.data() : nullptr,
                   .labels = *own > 0 ? part.labels.data() : nullptr,
                   .targets = part.targets,
                   .step = 1 + number / recipe_.batches_per_step,
                   .learning_rate = 0.01F,
                   .first_image = begin,
                   .rank_images = batch.rank_images,
                   .batches_before = number % recipe_.batches_per_step,
                   .update = (number + 1) % recipe_.batches_per_step == 0});
    });
    losses_.clear();
    for (const program::HeadView& head : program.heads()) losses_.push_back(head.sums);
  }

  Parameters::State& store() { return parameters_.state(); }
  comm::BucketExchange* exchange() { return policy_->exchange(); }
  bool shares() const { return parameters_.state().gradients.place().descriptor >= 0; }

  /// Gives each rank's parts of the gradients to all, and what gather_updates() does.
  void gather() {
    policy_->wait();
    comm::BucketExchange* const exchange = policy_->exchange();
    if (exchange == nullptr) return;
    const Parameters::State& store = parameters_.state();
    exchange->gather({reinterpret_cast<float*>(store.gradients.data()), store.trained_elements});
    program::gather_updates(*exchange, recipe_.has_average ? &average_ : nullptr);
  }

  /// By head: of the last batch.
  const std::vector<kernels::LossSums>& losses() const { return losses_; }
  std::vector<std::vector<float>> parameters() {
    policy_->wait();
    return snapshot(parameters_);
  }
  std::vector<std::vector<float>> average() const { return snapshot(average_); }
  std::vector<std::int64_t> counters() const {
    std::vector<std::int64_t> values;
    for (std::size_t i = 0; i < parameters_.list().size(); ++i) {
      if (parameters_.list()[i].type == DataType::s64)
        values.push_back(*parameters_.state().counter(static_cast<int>(i)));
    }
    return values;
  }
  /// The gradients that the store holds after a step.
  std::vector<std::vector<float>> gradients() const {
    std::vector<std::vector<float>> values;
    const Parameters::State& state = parameters_.state();
    for (int i = 0; i < static_cast<int>(state.list.size()); ++i) {
      if (state.list[static_cast<std::size_t>(i)].is_trained()) values.push_back(state.read(i, state.gradient(i)));
    }
    return values;
  }

 private:
  /// Places the parameters as sessions do, with copies that updates write and the programs read, though in f32.
  void place_copies() {
    const base::ComputeScope scope(1);
    program::TuningRecord tuning_record(false);
    program::LayoutPlan plan = program::with_named_orders(program::plan_layouts(graph_, options(2), tuning_record));
    for (program::LayoutPlan::Entry& entry : plan.entries) {
      const Parameter& parameter = parameters_.list()[static_cast<std::size_t>(entry.parameter)];
      entry.has_bf16_copy = parameter.is_trained() && parameter.shape.size() > 1;
    }
    average_.state().place(program::without_bf16_copies(plan));
    parameters_.state().place(std::move(plan));
  }

  program::ProgramOptions options(std::int64_t images) {
    std::vector<kernels::LossRule> losses(graph_.heads().size());
    losses.front() = {.smoothing = 0.1, .class_weights = {1, 2, 0.5, 3, 1}};
    losses.back().weight = 0.7;
    if (graph_.heads().size() < 4) losses.clear();
    return {.batch = images,
            .mode = program::Mode::training,
            .mean = {0.5F, 0.5F, 0.5F},
            .std = {0.3F, 0.3F, 0.3F},
            .seed = 3,
            .save_memory = recipe_.save_memory,
            .optimizer = recipe_.rule.get(),
            .losses = losses,
            .gradient_policy = policy_,
            .average = recipe_.has_average ? &average_ : nullptr,
            .average_decay = 0.9,
            .communicator = &group_.communicator()};
  }

  Session& session(std::int64_t images) {
    std::unique_ptr<Session>& found = sessions_[images];
    if (found != nullptr) return *found;
    found = std::make_unique<Session>(graph_, parameters_, options(images), program::TuningRecord(false), 1);
    if (recipe_.poison) found->program().poison(std::byte{0xFF});
    return *found;
  }

  ProcessGroup group_;
  const Recipe& recipe_;
  Graph graph_;
  Parameters parameters_, average_;
  std::shared_ptr<const program::LayoutPlan> plan_;  ///< held, so that no session places the parameters anew
  std::shared_ptr<optim::GradientPolicy> policy_;
  std::map<std::int64_t, std::unique_ptr<Session>> sessions_;
  std::vector<kernels::LossSums> losses_;
};

/// What a rank has after some batches.
struct Result {
  std::vector<std::vector<kernels::LossSums>> losses;  ///< by batch and head
  std::vector<std::vector<float>> parameters, average, gradients;
  std::vector<std::int64_t> counters;
};

Result train(const ProcessGroup& group, const std::vector<Batch>& batches, const Recipe& recipe) {
  Rank rank(group, recipe);
  Result trained;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    rank.run(batches[i], static_cast<std::int64_t>(i));
    trained.losses.push_back(rank.losses());
  }
  if (group.size() > 1) CHECK(rank.shares() == recipe.shares);
  rank.gather();
  trained.parameters = rank.parameters();
  trained.average = rank.average();
  trained.counters = rank.counters();
  if (group.size() > 1 || recipe.update.accumulate) trained.gradients = rank.gradients();
  return trained;
}

/// Trains on shares of the batches, and checks that all ranks have the same bits.
Result train_on_ranks(int size, const std::vector<Batch>& batches, const Recipe& recipe) {
  std::vector<Result> ranks(static_cast<std::size_t>(size));
  run_on_threads(
      size, [&](ProcessGroup& group) { ranks[static_cast<std::size_t>(group.rank())] = train(group, batches, recipe); },
      recipe.on_host);
  for (const Result& rank : ranks) {
    CHECK(rank.parameters == ranks[0].parameters);
    CHECK(rank.average == ranks[0].average);
    CHECK(rank.gradients == ranks[0].gradients);
    CHECK(rank.counters == ranks[0].counters);
    for (std::size_t i = 0; i < batches.size(); ++i) {
      for (std::size_t head = 0; head < rank.losses[i].size(); ++head) {
        CHECK(rank.losses[i][head].loss == ranks[0].losses[i][head].loss);
        CHECK(rank.losses[i][head].correct == ranks[0].losses[i][head].correct);
      }
    }
  }
  return ranks[0];
}

/// The batches with all their images on one rank.
std::vector<Batch> on_one(std::vector<Batch> batches) {
  for (Batch& batch : batches) batch.rank_images = {batch.whole.batch};
  return batches;
}

void check_close(const std::vector<std::vector<float>>& found, const std::vector<std::vector<float>>& expected,
                 double tolerance = 2e-6) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(rms_difference(found[i], expected[i]) <= tolerance * std::max(rms(expected[i]), 1e-3));
  }
}

void check_equal_to_one(int size, const std::vector<Batch>& batches, Recipe recipe) {
  const Result ranks = train_on_ranks(size, batches, recipe);
  const Result one = train(ProcessGroup(), on_one(batches), recipe);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    for (std::size_t head = 0; head < one.losses[i].size(); ++head) {
      CAPTURE(i);
      CAPTURE(head);
      const kernels::LossSums &found = ranks.losses[i][head], &expected = one.losses[i][head];
      CHECK(found.loss == doctest::Approx(expected.loss).epsilon(1e-5));
      CHECK(found.weight == doctest::Approx(expected.weight).epsilon(1e-12));
      CHECK(found.labelled == expected.labelled);
      CHECK(found.correct == expected.correct);
    }
  }
  check_close(ranks.parameters, one.parameters, 1e-5);
  check_close(ranks.average, one.average, 1e-5);
  if (!one.gradients.empty()) check_close(ranks.gradients, one.gradients, 1e-5);
}

std::vector<Batch> batches_of(const std::vector<std::vector<std::int64_t>>& rank_images) {
  std::vector<Batch> batches;
  for (const std::vector<std::int64_t>& images : rank_images) {
    const std::int64_t all = std::accumulate(images.begin(), images.end(), std::int64_t{0});
    batches.push_back({plain_model(all, 1 + batches.size()), images});
  }
  return batches;
}

/// SGD: gradients of nearly 0 don't turn rounding errors into steps, as with Adam.
Recipe plain_recipe(const optim::UpdateOptions& update = {}) {
  return {.update = update, .rule = optim::sgd({.momentum = 0.9})};
}

}  // namespace

TEST_CASE("ranks: the first step has the gradients and losses of one process") {
  const Recipe recipe = plain_recipe({.accumulate = true});
  for (const auto& images : {std::vector<std::int64_t>{4, 4}, {5, 3}, {4, 4, 3}, {1, 5, 2}}) {
    CAPTURE(images.size());
    const std::vector<Batch> batches = batches_of({images});
    const Result ranks = train_on_ranks(static_cast<int>(images.size()), batches, recipe);
    check_close(ranks.gradients, train(ProcessGroup(), on_one(batches), recipe).gradients);
  }
}

TEST_CASE("ranks: they train as one process, also when the last batch leaves one without images") {
  check_equal_to_one(2, batches_of({{4, 4}, {4, 4}, {1, 0}, {4, 4}}), plain_recipe());
  check_equal_to_one(3, batches_of({{3, 3, 2}, {3, 3, 2}, {1, 1, 0}, {3, 3, 2}, {0, 0, 2}}), plain_recipe());
}

TEST_CASE("ranks: several hosts, and hosts whose ranks share no memory") {
  const std::vector<Batch> batches = batches_of({{2, 3, 2, 2}, {2, 3, 2, 2}, {2, 3, 0, 2}});
  for (const int on_host : {0, 1, 2, 3}) {  // 3: the hosts have different numbers of ranks
    for (const bool shares : {true, false}) {
      for (const double clip_norm : {0.0, 0.1}) {
        CAPTURE(on_host);
        CAPTURE(shares);
        Recipe recipe = plain_recipe({.clip_norm = clip_norm});
        recipe.on_host = on_host;
        recipe.shares = shares;
        check_equal_to_one(4, batches, recipe);
      }
    }
  }
  Recipe rounded = plain_recipe({.reduces_bf16 = true});
  rounded.on_host = 1;
  const Result sent = train_on_ranks(4, batches, rounded), one = train(ProcessGroup(), on_one(batches), rounded);
  check_close(sent.parameters, one.parameters, 1e-3);
  CHECK(sent.parameters != train_on_ranks(4, batches, plain_recipe()).parameters);
  Recipe lamb{.rule = optim::lamb({.groups = {.weight_decay = 0.1}}), .has_average = true};
  lamb.on_host = 2;
  check_equal_to_one(4, batches, lamb);
}

TEST_CASE("ranks: of weights with bf16 copies the others get the copies, and the f32 values are gathered on request") {
  const std::vector<Batch> batches = batches_of({{2, 3, 2, 2}, {2, 3, 2, 2}, {2, 3, 0, 2}});
  for (const int on_host : {0, 1, 2, 3}) {
    for (const bool shares : {true, false}) {
      CAPTURE(on_host);
      CAPTURE(shares);
      Recipe recipe = plain_recipe();
      recipe.has_copies = true;
      recipe.on_host = on_host;
      recipe.shares = shares;
      run_on_threads(
          4,
          [&](ProcessGroup& group) {
            Rank rank(group, recipe);
            const Parameters::State& store = rank.store();
            const std::span values(reinterpret_cast<const float*>(store.values.data()), store.trained_elements);
            const std::vector<float> initial(values.begin(), values.end());
            for (std::size_t i = 0; i < batches.size(); ++i) rank.run(batches[i], static_cast<std::int64_t>(i));
            rank.parameters();
            const std::vector<float> partial(values.begin(), values.end());
            rank.gather();
            std::size_t wrong = 0, updated = 0;
            std::ptrdiff_t copied = 0;
            for (const program::LayoutPlan::Entry& entry : store.plan->entries) {
              const std::uint16_t* const copy = store.bf16_copy(entry.parameter);
              if (copy == nullptr) continue;
              ++copied;
              const std::size_t begin = store.stored[static_cast<std::size_t>(entry.parameter)].offset;
              const comm::Part elements{begin, store.stored_elements(entry.parameter)};
              for (std::size_t i = 0; i < elements.count; ++i) wrong += copy[i] != base::to_bf16(values[begin + i]);
              for (int other = 0; other < group.size(); ++other) {
                for (const comm::Part& part : rank.exchange()->parts_within(elements, other)) {
                  for (std::size_t i = part.begin; i < part.end(); ++i) {
                    const bool is_own = other == group.rank();
                    wrong += partial[i] != (is_own ? values[i] : initial[i]);
                    updated += values[i] != initial[i];
                  }
                }
              }
            }
            CHECK(copied == std::ranges::count_if(store.list, [](const Parameter& parameter) {
                    return parameter.is_trained() && parameter.shape.size() > 1;
                  }));
            CHECK(wrong == 0);
            CHECK(updated > 0);
          },
          on_host);
    }
  }
}

TEST_CASE("ranks: with bf16 copies they train as one process") {
  for (const bool lamb : {false, true}) {
    Recipe recipe = plain_recipe({.clip_norm = lamb ? 0 : 0.1});
    if (lamb) recipe.rule = optim::lamb();
    recipe.has_copies = recipe.has_average = true;
    const std::vector<Batch> batches = batches_of({{4, 4}, {4, 4}, {1, 0}, {4, 4}});
    std::vector<Batch> on_first = on_one(batches);
    for (Batch& batch : on_first) batch.rank_images.push_back(0);
    const Result ranks = train_on_ranks(2, batches, recipe), first = train_on_ranks(2, on_first, recipe);
    // A sum that is rounded otherwise may round a weight's copy to the other side.
    check_close(ranks.parameters, first.parameters, 1e-3);
    check_close(ranks.average, first.average, 1e-3);
    // One process reads the f32 weights.
    const Result one = train(ProcessGroup(), on_one(batches), recipe), before = train(ProcessGroup(), {}, recipe);
    for (std::size_t i = 0; i < one.parameters.size(); ++i) {
      const double moved = rms_difference(one.parameters[i], before.parameters[i]);
      CAPTURE(i);
      CHECK(rms_difference(ranks.parameters[i], one.parameters[i]) <= 0.15 * moved);
    }
    CHECK(ranks.parameters == train_on_ranks(2, batches, recipe).parameters);
    recipe.has_copies = false;
    CHECK(ranks.parameters != train_on_ranks(2, batches, recipe).parameters);
  }
}

TEST_CASE("ranks: accumulation, also when a rank has images in some of a step's batches only") {
  Recipe recipe = plain_recipe({.accumulate = true});
  recipe.batches_per_step = 2;
  check_equal_to_one(2, batches_of({{4, 4}, {2, 0}, {2, 0}, {4, 4}}), recipe);
  check_equal_to_one(3, batches_of({{3, 3, 2}, {3, 3, 2}, {1, 1, 0}, {1, 1, 0}}), recipe);
}

TEST_CASE("ranks: clipping takes the norm of the sums over all processes") {
  const auto batches = batches_of({{4, 4}, {5, 3}, {2, 0}});
  check_equal_to_one(2, batches, plain_recipe({.clip_norm = 0.05}));
  const Result clipped = train_on_ranks(2, batches, plain_recipe({.clip_norm = 0.05}));
  CHECK(clipped.parameters != train_on_ranks(2, batches, plain_recipe({.clip_norm = 1e9})).parameters);
  Recipe recipe = plain_recipe({.accumulate = true, .clip_norm = 0.05});
  recipe.batches_per_step = 2;
  check_equal_to_one(2, batches_of({{4, 4}, {2, 0}, {5, 3}, {4, 4}}), recipe);
}

TEST_CASE("ranks: LARS, LAMB and the average of the weights") {
  for (const bool lars : {true, false}) {
    Recipe recipe;
    recipe.rule = lars ? std::shared_ptr<optim::Optimizer>(optim::lars()) : optim::lamb();
    recipe.has_average = true;
    check_equal_to_one(2, batches_of({{4, 4}, {4, 4}, {2, 0}}), recipe);
  }
}

TEST_CASE("ranks: a frozen parameter has no gradient") {
  Recipe recipe = plain_recipe();
  recipe.network = [] { return with_frozen(plain_model(1), "hidden.weight").graph; };
  check_equal_to_one(3, batches_of({{3, 3, 2}, {1, 1, 0}}), recipe);
}

TEST_CASE("ranks: running statistics are the mean of the processes', weighted by their images") {
  const std::vector<Batch> batches{{small_model(8), {5, 3, 0}}, {small_model(4, true, 2), {0, 2, 2}}};
  for (const bool save_memory : {false, true}) {
    Recipe recipe = plain_recipe();
    recipe.network = [] { return small_model(1).graph; };
    recipe.has_average = true;
    recipe.save_memory = save_memory;
    const Result trained = train_on_ranks(3, {batches[0]}, recipe);
    REQUIRE(trained.counters.size() == 3);
    CHECK(trained.counters[0] == 1);
    std::vector<std::vector<float>> expected;
    std::int64_t begin = 0;
    for (const std::int64_t images : {5, 3}) {
      const Problem part = part_of(batches[0].whole, recipe.network(), begin, images);
      begin += images;
      Parameters parameters = random_parameters(part.graph);
      gradient_session(part, parameters, Precision::f32, 1).run(part);
      const auto values = snapshot(parameters);
      if (expected.empty()) {
        for (const std::vector<float>& value : values) expected.emplace_back(value.size(), 0.0F);
      }
      for (std::size_t i = 0; i < values.size(); ++i) {
        for (std::size_t j = 0; j < values[i].size(); ++j) {
          expected[i][j] += static_cast<float>(images) / 8 * values[i][j];
        }
      }
    }
    const Graph graph = recipe.network();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const Parameter& parameter = graph.parameters()[i];
      if (parameter.trainable || parameter.type == DataType::s64) continue;
      CAPTURE(parameter.name);
      check_close({trained.parameters[i]}, {expected[i]});
    }

    Recipe poisoned = recipe;
    poisoned.poison = true;
    const Result longer = train_on_ranks(3, batches, recipe);
    CHECK(longer.counters[0] == 2);
    CHECK(train_on_ranks(3, batches, poisoned).parameters == longer.parameters);
  }
}

TEST_CASE("ranks: an error in one's forward is thrown on all before a weight changes, and training can go on") {
  const std::vector<Batch> good = batches_of({{3, 3, 2}, {3, 3, 2}});
  Batch bad = good[1];
  bad.whole.targets[1][4 * 3] = 2;  // of rank 1's second image
  for (const bool accumulate : {false, true}) {
    const Recipe recipe = plain_recipe({.accumulate = accumulate});
    const Result expected = train_on_ranks(3, good, recipe);
    std::vector<std::string> messages(3);
    std::vector<std::vector<std::vector<float>>> trained(3);
    std::vector<char> unchanged(3);
    run_on_threads(3, [&](ProcessGroup& group) {
      const auto number = static_cast<std::size_t>(group.rank());
      Rank rank(group, recipe);
      rank.run(good[0], 0);
      const auto before = rank.parameters();
      messages[number] = error_of([&] { rank.run(bad, 1); });
      unchanged[number] = static_cast<char>(rank.parameters() == before);
      rank.run(good[1], 1);
      trained[number] = rank.parameters();
    });
    for (std::size_t i = 0; i < 3; ++i) {
      CHECK(contains(messages[i], "head 'attributes': the target value 2 found"));
      CHECK(contains(messages[i], "rank 1 (") == (i != 1));
      CHECK(unchanged[i]);
      CHECK(trained[i] == expected.parameters);
    }
  }
}

TEST_CASE("ranks: a gradient of one that isn't finite stops all before a weight changes") {
  const LossFunction infinite = [](const LossInput& input, std::span<float> gradient) {
    if (!gradient.empty() && input.images == 3) gradient[0] = std::numeric_limits<float>::infinity();
    return 1.0;
  };
  Recipe recipe = plain_recipe({.clip_norm = 1});
  recipe.network = [&] { return plain_model(1, 1, infinite).graph; };
  const std::vector<Batch> batches = batches_of({{5, 3}});
  std::vector<std::string> messages(2);
  std::vector<char> unchanged(2);
  run_on_threads(2, [&](ProcessGroup& group) {
    Rank rank(group, recipe);
    const auto before = rank.parameters();
    const auto number = static_cast<std::size_t>(group.rank());
    messages[number] = error_of([&] { rank.run(batches[0], 0); });
    unchanged[number] = static_cast<char>(rank.parameters() == before);
  });
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(contains(messages[i], "the gradient of parameter '"));
    CHECK(unchanged[i]);
  }
}

TEST_CASE("ranks: an error in one's backward is thrown on all before a weight changes") {
  Recipe recipe = plain_recipe();
  recipe.failing_rank = 2;
  const std::vector<Batch> batches = batches_of({{3, 3, 2}});
  std::vector<std::string> messages(3);
  std::vector<char> unchanged(3);
  run_on_threads(3, [&](ProcessGroup& group) {
    Rank rank(group, recipe);
    const auto before = rank.parameters();
    const auto number = static_cast<std::size_t>(group.rank());
    messages[number] = error_of([&] { rank.run(batches[0], 0); });
    unchanged[number] = static_cast<char>(rank.parameters() == before);
  });
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(contains(messages[i], "backward has failed"));
    CHECK(contains(messages[i], "rank 2 (") == (i != 2));
    CHECK(unchanged[i]);
  }
}

TEST_CASE("ranks: a run on another share of the batch than the program's is an error") {
  const std::vector<std::int64_t> wrong_images[] = {{2}, {2, 2, 2}, {3, 3}, {0, 0}};
  const Recipe recipe = plain_recipe();
  run_on_threads(2, [&](ProcessGroup& group) {
    const Problem problem = plain_model(2);
    Parameters parameters = random_parameters(problem.graph);
    Session session(problem.graph, parameters,
                    {.batch = 2,
                     .mode = program::Mode::training,
                     .optimizer = recipe.rule.get(),
                     .gradient_policy = optim::reduce_policy(group.communicator()),
                     .communicator = &group.communicator()},
                    program::TuningRecord(false), 1);
    const base::ComputeScope scope(1);
    for (const std::vector<std::int64_t>& images : wrong_images) {
      CHECK_THROWS_AS(session.program().run({.pixels = problem.pixels.data(), .rank_images = images}), Error);
    }
  });
}

TEST_CASE("ranks: profiles show the exchanges") {
  run_on_threads(2, [&](ProcessGroup& group) {
    const Problem problem = small_model(2);
    const auto rule = optim::sgd();
    Parameters parameters = random_parameters(problem.graph);
    Session session(problem.graph, parameters,
                    {.batch = 2,
                     .mode = program::Mode::training,
                     .optimizer = rule.get(),
                     .gradient_policy = optim::reduce_policy(group.communicator()),
                     .communicator = &group.communicator()},
                    program::TuningRecord(false), 1);
    session.program().profile(true);
    const base::ComputeScope scope(1);
    session.program().run({.pixels = problem.pixels.data(),
                           .labels = problem.labels.data(),
                           .step = 1,
                           .rank_images = std::vector<std::int64_t>{2, 2}});
    const auto infos = session.program().instructions();
    for (const std::string name : {"losses.sum", "statistics.average_over_ranks", "gradients.0.reduce"}) {
      const auto found = std::ranges::find(infos, name, &program::InstructionInfo::name);
      REQUIRE(found != infos.end());
      CHECK(found->kind == program::InstructionKind::communication);
      CHECK(session.program().instruction_seconds()[static_cast<std::size_t>(found - infos.begin())] > 0);
    }
  });
}

}  // namespace facet::testing
