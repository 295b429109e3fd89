#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <stdexcept>

#include "base/random.h"
#include "facet/session.h"
#include "facet/training.h"
#include "testing.h"
#include "train/small_run.h"

using namespace facet;

namespace {

/// Images of one brightness. Their head `bright` has two labels, above 100 and above 150, of which some are missing;
/// `level` is a number, the brightness from 0 to 1.
class Levels final : public Dataset {
 public:
  Levels(std::int64_t count, std::uint64_t seed, std::vector<Head> heads) : heads_(std::move(heads)) {
    base::RandomStream random(seed, base::Purpose::synthesis, 0);
    for (std::int64_t i = 0; i < count; ++i) levels_.push_back(static_cast<int>(random.below(256)));
  }
  std::int64_t size() const override { return std::ssize(levels_); }
  const std::vector<Head>& heads() const override { return heads_; }
  std::span<const std::int32_t> labels(std::int64_t) const override { return {none_, heads_.size()}; }
  void load(const LoadRequest& request, std::span<std::uint8_t> pixels) const override {
    const int level = levels_[static_cast<std::size_t>(request.index)];
    for (std::uint8_t& value : pixels) value = static_cast<std::uint8_t>(level);
  }
  std::string name(std::int64_t index) const override { return std::to_string(index); }
  bool has_targets(std::size_t) const override { return true; }
  void targets(std::int64_t index, std::size_t head, std::span<float> values) const override {
    const int level = levels_[static_cast<std::size_t>(index)];
    if (heads_[head].name == "level") {
      values[0] = static_cast<float>(level) / 255 + shift;
      return;
    }
    values[0] = level > 100 ? 1.0F : 0.0F;
    if (index % 5 != 0) values[1] = level > 150 ? 1.0F : 0.0F;  // else it stays NaN
  }

  float shift = 0;

 private:
  std::vector<Head> heads_;
  std::vector<int> levels_;
  static constexpr std::int32_t none_[2] = {no_label, no_label};
};

std::vector<Head> both() { return {{"bright", {"above 100", "above 150"}}, {"level", {"brightness"}}}; }
std::vector<Head> level_only() { return {{"level", {"brightness"}}}; }

Graph model(const std::vector<Head>& heads) {
  Graph graph;
  Value x = graph.input({3, 8, 8});
  x = flatten(relu(convolution(x, {.channels = 8, .stride = 2})));
  for (const Head& head : heads) {
    const Scope scope(graph, head.name);
    const Value outputs = linear(relu(linear(x, {.features = 16, .name = "hidden"})),
                                 {.features = std::ssize(head.classes), .name = "logits"});
    head.name == "level" ? mean_squared_error(outputs, head.name) : binary_cross_entropy(outputs, head.name);
  }
  return graph;
}

ModelInfo info(const std::vector<Head>& heads) { return {.model = "levels", .size = 8, .heads = heads}; }

TrainOptions options(const std::filesystem::path& out = {}) {
  TrainOptions result = small::options(out);
  result.batch = 16;
  result.epochs = 20;
  result.learning_rate = 5e-3;
  return result;
}

}  // namespace

TEST_CASE("a trainer learns several labels and a number, and resumes to the same bits") {
  const TemporaryFolder folder;
  const Levels train(200, 1, both()), validation(60, 2, both());
  EpochResult last;
  small::Learnt whole;
  {
    Trainer trainer(model(both()), info(both()), train, &validation, options(folder / "whole"));
    small::train(trainer, {.epoch = [&](const EpochResult& result) { last = result; }});
    whole = small::learnt(trainer);
  }
  REQUIRE(last.validation.size() == 2);
  CHECK(last.validation[0].labelled == 60 + 48);
  CHECK(last.validation[0].accuracy > 0.9);
  CHECK(last.train_accuracy[0] > 0.9);
  CHECK(last.validation[1].loss < 0.02);
  CHECK(std::isnan(last.validation[1].accuracy));
  CHECK(std::isnan(last.train_accuracy[1]));
  CHECK(contains(read_file(folder / "whole" / "metrics.jsonl"), R"("validation_accuracy":{"bright":)"));

  TrainOptions stopped = options(folder / "stopped");
  int steps = 0;
  {
    Trainer trainer(model(both()), info(both()), train, &validation, stopped);
    small::train(trainer, {.stop = [&] { return ++steps == 30; }});
  }
  stopped.resume = true;
  {
    Trainer trainer(model(both()), info(both()), train, &validation, stopped);
    trainer.run();
    CHECK(small::learnt(trainer) == whole);
  }
  Levels moved(200, 1, both());
  moved.shift = 0.25F;
  CHECK(contains(error_of([&] { Trainer(model(both()), info(both()), moved, &validation, stopped); }),
                 "the training data have changed"));
}

TEST_CASE("a model without an accuracy is trained without a validation set, or by a session") {
  const Levels train(200, 1, level_only()), validation(60, 2, level_only());
  CHECK(contains(error_of([&] { Trainer(model(level_only()), info(level_only()), train, &validation, options()); }),
                 "no head has an accuracy"));
  Trainer trainer(model(level_only()), info(level_only()), train, nullptr, options());
  trainer.run();
  CHECK(trainer.session().evaluate(validation)[0].loss < 0.02);
}

TEST_CASE("class weights of a head without classes are refused") {
  TrainOptions with = options();
  with.class_weights["bright"] = {.values = {1, 2}};
  CHECK(contains(error_of([&] { TrainingSession(model(both()), info(both()), with); }),
                 "class_weights has the head bright, whose loss is neither softmax_cross_entropy nor coral_loss"));
}

namespace {

/// A model of the head `level` whose loss is the squared error plus `offset`; `before` is called before each.
Graph own_model(double offset, const std::function<void()>& before) {
  Graph graph;
  const Value x = flatten(relu(convolution(graph.input({3, 8, 8}), {.channels = 8, .stride = 2})));
  const Scope scope(graph, "level");
  const auto squared = [=](const LossInput& input, std::span<float> gradient) {
    if (before) before();
    double loss = offset;
    for (std::size_t i = 0; i < input.logits.size(); ++i) {
      const double difference = input.logits[i] - input.targets[i];
      loss += difference * difference / static_cast<double>(input.images);
      if (!gradient.empty()) gradient[i] = static_cast<float>(2 * difference / static_cast<double>(input.images));
    }
    return loss;
  };
  custom_loss(linear(relu(linear(x, {.features = 16, .name = "hidden"})), {.features = 1, .name = "logits"}), "level",
              squared);
  return graph;
}

}  // namespace

TEST_CASE("a loss of the caller's own learns as the built-in one does") {
  const Levels train(200, 1, level_only());
  Trainer custom(own_model(0, {}), info(level_only()), train, nullptr, options());
  Trainer built_in(model(level_only()), info(level_only()), train, nullptr, options());
  custom.run();
  built_in.run();
  const std::vector<HeadResult> one = custom.session().evaluate(train), other = built_in.session().evaluate(train);
  CHECK(one[0].loss == doctest::Approx(other[0].loss).epsilon(0.05));
  CHECK(one[0].loss < 0.02);
}

TEST_CASE("a negative loss is saved and resumed") {
  const TemporaryFolder folder;
  const Levels train(200, 1, level_only());
  TrainOptions with = options(folder / "run");
  with.epochs = 2;
  Trainer whole(own_model(-5, {}), info(level_only()), train, nullptr, [&] {
    TrainOptions other = with;
    other.out = folder / "whole";
    return other;
  }());
  whole.run();
  int steps = 0;
  {
    Trainer stopped(own_model(-5, {}), info(level_only()), train, nullptr, with);
    small::train(stopped, {.stop = [&] { return ++steps == 5; }});
  }
  with.resume = true;
  Trainer resumed(own_model(-5, {}), info(level_only()), train, nullptr, with);
  resumed.run();
  CHECK(small::learnt(resumed) == small::learnt(whole));
}

TEST_CASE("after an exception of the caller's loss, within a step of two batches, training goes on to the same bits") {
  const Levels train(200, 1, level_only());
  TrainOptions with = options();
  with.epochs = 2;
  with.accumulate = 2;
  Trainer whole(own_model(0, {}), info(level_only()), train, nullptr, with);
  whole.run();
  int calls = 0;
  Trainer failing(own_model(0,
                            [&] {
                              if (++calls == 6) throw std::runtime_error("the caller's own");
                            }),
                  info(level_only()), train, nullptr, with);
  CHECK_THROWS_WITH_AS(failing.run(), "the caller's own", std::runtime_error);
  failing.run();
  CHECK(small::learnt(failing) == small::learnt(whole));
}
