#include <doctest/doctest.h>

#include "facet/session.h"
#include "train/recipe.h"

using namespace facet;
using Kind = LearningRateSchedule::Kind;

namespace {

train::Schedule schedule(const LearningRateSchedule& requested, std::int64_t epochs, std::int64_t steps_per_epoch) {
  TrainOptions options;
  options.learning_rate = 1;
  options.epochs = epochs;
  options.schedule = requested;
  return {options, steps_per_epoch};
}

}  // namespace

TEST_CASE("a warm-up rises in equal steps, part of an epoch included, and ends at the learning rate") {
  const train::Schedule rates = schedule({.warmup_epochs = 0.4, .warmup_factor = 0.2}, 3, 10);
  for (const auto& [step, rate] : {std::pair{1, 0.2}, {2, 0.4}, {3, 0.6}, {4, 0.8}, {5, 1.0}, {30, 1.0}}) {
    CHECK(rates.learning_rate(step) == doctest::Approx(rate));
  }
}

TEST_CASE("one cycle of any length starts, peaks and ends at a finite rate") {
  for (const std::int64_t steps : {1, 2, 3, 4, 10, 1000}) {
    for (const double pct_start : {0.0, 0.25, 0.5, 1.0}) {
      CAPTURE(steps);
      CAPTURE(pct_start);
      const train::Schedule rates = schedule({.kind = Kind::one_cycle, .pct_start = pct_start}, 1, steps);
      for (std::int64_t step = 1; step <= steps; ++step) {
        CHECK(rates.learning_rate(step) > 0);
        CHECK(rates.learning_rate(step) <= 1);
        CHECK(rates.momentum(step).value() >= 0.85);
        CHECK(rates.momentum(step).value() <= 0.95);
      }
    }
  }
  const train::Schedule rates = schedule({.kind = Kind::one_cycle, .pct_start = 0.25}, 1, 1000);
  CHECK(rates.learning_rate(1) == doctest::Approx(1.0 / 25));
  CHECK(rates.learning_rate(250) == doctest::Approx(1));
  CHECK(rates.learning_rate(1000) == doctest::Approx(1.0 / 25 / 1e4).scale(0));
  CHECK(rates.momentum(1).value() == doctest::Approx(0.95));
  CHECK(rates.momentum(250).value() == doctest::Approx(0.85));
  CHECK(rates.momentum(1000).value() == doctest::Approx(0.95));
  CHECK_FALSE(schedule({}, 1, 10).momentum(1).has_value());
}

TEST_CASE("the learning rate is scaled by the images of a step") {
  TrainOptions options;
  options.learning_rate = 0.1;
  options.batch = 512;
  options.accumulate = 2;
  CHECK(scheduled_learning_rate(options, 10, 1) == doctest::Approx(0.1));
  options.lr_scale_batch = 256;
  CHECK(scheduled_learning_rate(options, 10, 1) == doctest::Approx(0.4));
  options.schedule.warmup_epochs = 5;
  options.schedule.warmup_factor = 0.25;
  CHECK(scheduled_learning_rate(options, 10, 1) == doctest::Approx(0.1));
  CHECK(scheduled_learning_rate(options, 10, 51) == doctest::Approx(0.4));
}
