#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "comm/ranks.h"
#include "facet/training.h"
#include "testing.h"
#include "train/rank_run.h"

using namespace facet;

namespace {

/// Histograms of some steps, and the weights after each step, by name.
struct Observed {
  std::vector<StepHistograms> histograms;
  std::map<std::int64_t, small::Learnt> weights;
};

TrainOptions options() {
  TrainOptions result = small::rank_options();
  result.keep_gradients = false;
  result.epochs = 2;
  result.optimizer = OptimizerKind::sgd;
  result.momentum = 0;
  result.learning_rate = 0.1;
  result.histogram_every = 2;
  return result;
}

class Observer final : public TrainSink {
 public:
  explicit Observer(Observed& observed) : observed_(observed) {}
  void on_histograms(const StepHistograms& histograms) override { observed_.histograms.push_back(histograms); }

 private:
  Observed& observed_;
};

Observed observe(TrainOptions with, const ProcessGroup& group = {}) {
  with.processes = group;
  Trainer trainer(small::rank_model(), small::info(), small::train_set(), nullptr, with);
  Observed observed;
  Observer observer(observed);
  std::int64_t step = 0;
  observed.weights[0] = small::learnt(trainer.parameters());
  trainer.run({&observer}, [&] {
    ++step;
    return true;  // the weights are up to date after a stop
  });
  observed.weights[step] = small::learnt(trainer.parameters());
  while (!trainer.run({&observer}, [&] {
    ++step;
    return true;
  })) {
    observed.weights[step] = small::learnt(trainer.parameters());
  }
  return observed;
}

double sum_of(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value);
  return sum;
}

std::int64_t count_of(const ValueHistogram& histogram) {
  std::int64_t count = 0;
  for (const ValueHistogram::Bucket& bucket : histogram.buckets) count += bucket.count;
  return count;
}

/// The number of values that a bucket describes.
std::int64_t count_in(const std::vector<float>& values, const ValueHistogram::Bucket& bucket) {
  return std::ranges::count_if(values, [&](float value) {
    if (bucket.high <= 0) return bucket.low < value && value <= bucket.high;
    if (bucket.low < 0) return std::abs(value) < bucket.high;
    return bucket.low <= value && value < bucket.high;
  });
}

void check_weights(const ValueHistogram& histogram, const std::vector<float>& values) {
  CAPTURE(histogram.weight);
  CHECK(histogram.count == std::ssize(values));
  CHECK(count_of(histogram) == std::ssize(values));
  CHECK(histogram.sum == doctest::Approx(sum_of(values)).epsilon(1e-6).scale(1));
  CHECK(histogram.min == *std::ranges::min_element(values));
  CHECK(histogram.max == *std::ranges::max_element(values));
  double end = -std::numeric_limits<double>::infinity();
  for (const ValueHistogram::Bucket& bucket : histogram.buckets) {
    CHECK(bucket.low >= end);
    CHECK(bucket.low < bucket.high);
    CHECK(bucket.count == count_in(values, bucket));
    end = bucket.high;
  }
}

/// With SGD, the learning rate times the gradient is the change of the weights.
void check_gradient(const ValueHistogram& histogram, const std::vector<float>& before,
                    const std::vector<float>& after) {
  CAPTURE(histogram.weight);
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const double gradient = (static_cast<double>(before[i]) - static_cast<double>(after[i])) / 0.1;
    sum += gradient;
    squares += gradient * gradient;
  }
  const double rounding = 1e-6 * static_cast<double>(before.size());
  CHECK(histogram.count == std::ssize(before));
  CHECK(count_of(histogram) == std::ssize(before));
  CHECK(std::abs(histogram.sum - sum) <= rounding);
  CHECK(histogram.sum_squares == doctest::Approx(squares).epsilon(1e-3).scale(1e-6));
}

/// @param every TrainOptions::histogram_every.
void check(const Observed& observed, std::int64_t steps, std::int64_t every) {
  REQUIRE(std::ssize(observed.histograms) == steps / every);
  for (std::int64_t i = 0; i < steps / every; ++i) {
    const StepHistograms& found = observed.histograms[static_cast<std::size_t>(i)];
    CHECK(found.step == every * (i + 1));
    const small::Learnt &before = observed.weights.at(found.step - 1), &after = observed.weights.at(found.step);
    REQUIRE(found.weights.size() == found.gradients.size());
    CHECK(std::ssize(found.weights) == 21);  // the trained ones, without running statistics
    for (std::size_t w = 0; w < found.weights.size(); ++w) {
      const std::string& name = found.weights[w].weight;
      CHECK(found.gradients[w].weight == name);
      check_weights(found.weights[w], after.at(name));
      check_gradient(found.gradients[w], before.at(name), after.at(name));
    }
  }
}

}  // namespace

TEST_CASE("histograms are of the weights after a step and of the gradients that it has used") {
  TrainOptions with = options();
  std::int64_t steps = 8;
  SUBCASE("plain") {}
  SUBCASE("clipped") { with.clip_norm = 0.01; }
  SUBCASE("several batches a step") {
    with.accumulate = 3;
    steps = 4;
  }
  check(observe(with), steps, 2);
}

TEST_CASE("histograms of ranks are of whole weights and of the sums of their gradients") {
  TrainOptions with = options();
  with.histogram_every = 1;
  SUBCASE("plain") {}
  SUBCASE("clipped") { with.clip_norm = 0.01; }
  const Observed one = observe(with);
  for (const int size : small::sizes) {
    test::run_ranks(size, [&](ProcessGroup& group) {
      const Observed observed = observe(with, group);
      check(observed, 8, 1);
      // Of the first step: later, roundings may have moved a value to the other side of a ReLU's kink.
      for (std::size_t w = 0; w < one.histograms.front().gradients.size(); ++w) {
        const ValueHistogram &found = observed.histograms.front().gradients[w],
                             &expected = one.histograms.front().gradients[w];
        CHECK(found.sum_squares == doctest::Approx(expected.sum_squares).epsilon(1e-4).scale(1e-9));
      }
    });
  }
}

TEST_CASE("a run has the same bits with histograms and without") {
  TrainOptions with = options();
  const auto learn = [&] {
    Trainer trainer(small::rank_model(), small::info(), small::train_set(), nullptr, with);
    trainer.run();
    return small::bits(small::learnt(trainer));
  };
  const std::string bits = learn();
  with.histogram_every = 0;
  CHECK(learn() == bits);
}
