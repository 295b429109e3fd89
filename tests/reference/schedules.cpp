#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "reference/reference_file.h"
#include "train/recipe.h"

namespace facet::testing {

TEST_CASE("schedules: every step's learning rate and momentum agree with PyTorch's") {
  if (!have_references()) return;
  using Kind = LearningRateSchedule::Kind;
  // The cases of make_references.py: 6 epochs of 7 steps, at most 0.1, of SGD with a momentum of 0.6.
  const std::pair<const char*, LearningRateSchedule> cases[] = {
      {"constant", {}},
      {"constant.warmup", {.warmup_epochs = 2, .warmup_factor = 0.1}},
      {"step", {.kind = Kind::step, .step_size = 2, .gamma = 0.3}},
      {"step.warmup", {.kind = Kind::step, .warmup_epochs = 1, .step_size = 2, .gamma = 0.3}},
      {"cosine", {.kind = Kind::cosine, .eta_min = 0.01}},
      {"cosine.warmup", {.kind = Kind::cosine, .warmup_epochs = 1.4}},
      {"one-cycle", {.kind = Kind::one_cycle}},
      {"one-cycle.late",
       {.kind = Kind::one_cycle,
        .pct_start = 0.5,
        .div_factor = 10,
        .final_div_factor = 100,
        .base_momentum = 0.7,
        .max_momentum = 0.9}},
      {"one-cycle.rate", {.kind = Kind::one_cycle, .cycle_momentum = false}},
  };
  const ReferenceFile reference("schedules");
  for (const auto& [name, schedule] : cases) {
    CAPTURE(std::string(name));
    TrainOptions options;
    options.learning_rate = 0.1;
    options.epochs = 6;
    options.schedule = schedule;
    const train::Schedule rates(options, 7);
    const std::vector<float> expected = reference.read(name);
    const std::vector<float> momenta = reference.read(name + std::string(".momentum"));
    REQUIRE(expected.size() == 42);
    REQUIRE(momenta.size() == 42);
    for (std::size_t step = 0; step < expected.size(); ++step) {
      CAPTURE(step);
      CHECK(rates.learning_rate(static_cast<std::int64_t>(step) + 1) ==
            doctest::Approx(expected[step]).epsilon(1e-6).scale(0));
      CHECK(rates.momentum(static_cast<std::int64_t>(step) + 1).value_or(0.6) ==
            doctest::Approx(momenta[step]).epsilon(1e-6));
    }
  }
}

}  // namespace facet::testing
