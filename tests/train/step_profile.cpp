#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "facet/training.h"
#include "testing.h"
#include "train/session.h"
#include "train/small_run.h"

using namespace facet;

namespace {

/// The profiles that a run tells, and after which step.
struct Told {
  std::vector<StepProfile> profiles = {};
  std::vector<std::int64_t> after = {};
  std::vector<std::string> notes = {};
  std::int64_t step = 0;
};

/// Runs a trainer up to the end, or up to a step where that isn't 0.
bool run_on(Trainer& trainer, Told& told, std::int64_t last = 0) {
  return small::train(trainer, {.step = [&](const StepResult& result) { told.step = result.step; },
                                .epoch = [&](const EpochResult& result) { CHECK(result.communication_waited == 0); },
                                .profile =
                                    [&](const StepProfile& profile) {
                                      told.profiles.push_back(profile);
                                      told.after.push_back(told.step);
                                    },
                                .note =
                                    [&](const std::string& note) {
                                      if (contains(note, "profiled")) told.notes.push_back(note);
                                    },
                                .stop = [&] { return told.step == last; }});
}

TrainOptions with_profile(std::int64_t steps, std::int64_t accumulate = 1) {
  TrainOptions options = small::options();
  options.profile_steps = steps;
  options.accumulate = accumulate;
  return options;
}

}  // namespace

TEST_CASE("steps are profiled once, after the first two and without the smaller batch, and learn the same") {
  small::Run plain(small::options()), run(with_profile(4));
  Told nothing, told;
  CHECK(run_on(plain.trainer, nothing));
  CHECK(nothing.profiles.empty());
  CHECK(run_on(run.trainer, told));
  CHECK(small::learnt(run.trainer) == small::learnt(plain.trainer));
  CHECK(told.after == std::vector<std::int64_t>{7});  // steps 3, 4, 5 and 7: the epoch's sixth has 5 images
  REQUIRE(told.profiles.size() == 1);
  const StepProfile& profile = told.profiles[0];
  CHECK(profile.steps == 4);
  CHECK(profile.images == 8);
  CHECK(profile.processes == 1);
  CHECK(profile.images_per_s * profile.seconds == doctest::Approx(8));
  CHECK(profile.waited_seconds > 0);
  double sum = profile.waited_seconds;
  for (const auto& [kind, seconds] : profile.seconds_by_kind) {
    CAPTURE(kind);
    CHECK(seconds > 0);
    sum += seconds;
  }
  CHECK(sum <= profile.seconds);
  for (const char* kind : {"convolution forward", "convolution backward weights", "linear", "loss", "update"}) {
    CHECK_MESSAGE(profile.seconds_by_kind.contains(kind), kind);
  }
  CHECK(!profile.seconds_by_kind.contains("communication"));
  CHECK(profile.communication.seconds == 0);
  CHECK(profile.communication.waited_seconds == 0);
}

TEST_CASE("a profiled step of several batches has all of them") {
  small::Run run(with_profile(2, 2));
  Told told;
  CHECK(run_on(run.trainer, told));
  CHECK(told.after == std::vector<std::int64_t>{5});  // an epoch's third step has the smaller batch
  REQUIRE(told.profiles.size() == 1);
  CHECK(told.profiles[0].steps == 2);
  CHECK(told.profiles[0].images == 16);
}

TEST_CASE("after the profile, steps aren't timed any more") {
  small::Run run(with_profile(2));
  const auto seconds = [&] {
    const auto last = run.trainer.session().state().training_program(8).instruction_seconds();
    return std::vector<double>(last.begin(), last.end());
  };
  Told told;
  CHECK(!run_on(run.trainer, told, 4));
  CHECK(told.profiles.size() == 1);
  const std::vector<double> before = seconds();
  CHECK(!run_on(run.trainer, told, 5));
  CHECK(seconds() == before);
  CHECK(told.profiles.size() == 1);
}

TEST_CASE("a run that ends early tells what is profiled by then, or that nothing is") {
  Told told;
  small::Run stopped(with_profile(4));
  CHECK(!run_on(stopped.trainer, told, 2));
  CHECK(told.profiles.empty());
  CHECK(!run_on(stopped.trainer, told, 3));
  REQUIRE(told.profiles.size() == 1);
  CHECK(told.profiles[0].steps == 1);
  CHECK(run_on(stopped.trainer, told));
  CHECK(told.profiles.size() == 1);
  CHECK(told.notes.empty());

  small::Run whole_epochs(with_profile(1, small::batches));  // each step has the smaller batch
  CHECK(run_on(whole_epochs.trainer, told));
  CHECK(told.profiles.size() == 1);
  CHECK(told.notes ==
        std::vector<std::string>{"no step is profiled: after two steps, none with full batches was left"});
}
