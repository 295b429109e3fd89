#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/ranks.h"
#include "facet/sampler.h"
#include "facet/training.h"
#include "testing.h"
#include "train/rank_run.h"
#include "train/resizable_run.h"
#include "train/run_folder.h"

using namespace facet;
using facet::test::is_same;
using facet::test::run_ranks;
using small::sizes;

namespace {

TrainOptions options(const std::filesystem::path& out = {}) {
  TrainOptions result = small::rank_options();
  result.epochs = 2;
  result.keep_gradients = false;
  result.out = out;
  return result;
}

/// The images of another data set; counts how often each is loaded, and can't read one of them.
class Watched final : public Dataset {
 public:
  explicit Watched(const Dataset& data, std::int64_t lost = -1) : lost_(lost), data_(data), loads_(data.size()) {}
  std::int64_t size() const override { return data_.size(); }
  const std::vector<Head>& heads() const override { return data_.heads(); }
  std::span<const std::int32_t> labels(std::int64_t index) const override { return data_.labels(index); }
  std::string name(std::int64_t index) const override { return data_.name(index); }
  void load(const LoadRequest& request, std::span<std::uint8_t> pixels) const override {
    if (request.index == lost_) throw Error(name(lost_) + ": can't be read", ErrorCode::io);
    ++loads_[static_cast<std::size_t>(request.index)];
    data_.load(request, pixels);
  }
  /// How often all ranks together have loaded each image.
  std::vector<double> loads_of_all(const ProcessGroup& group) const {
    std::vector<double> loads(loads_.begin(), loads_.end());
    group.communicator().sum(std::span<double>(loads));
    return loads;
  }

 private:
  std::int64_t lost_;
  const Dataset& data_;
  mutable std::vector<std::atomic<int>> loads_;
};

/// What a run tells.
struct Told {
  std::vector<StepResult> steps = {};
  std::vector<EpochResult> epochs = {};
};

/// Runs a trainer up to the end, or until `stop_after` steps are done where that isn't 0.
bool run(Trainer& trainer, Told& told, std::size_t stop_after = 0) {
  std::size_t steps = 0;  // also on a rank that is told nothing
  return small::train(trainer, {.step = [&](const StepResult& step) { told.steps.push_back(step); },
                                .epoch = [&](const EpochResult& epoch) { told.epochs.push_back(epoch); },
                                .stop = [&] { return ++steps == stop_after; }});
}

/// Trains in ranks on the small sets.
struct Run {
  Run(const ProcessGroup& group, TrainOptions train_options, const std::vector<Head>& heads = small::heads())
      : trainer(make(group, train_options, heads)) {}
  Trainer make(const ProcessGroup& group, TrainOptions& train_options, const std::vector<Head>& heads) {
    train_options.processes = group;
    ModelInfo info = small::info();
    info.heads = heads;
    return Trainer(small::rank_model_of(heads), info, train, &validation, train_options);
  }
  Watched train{small::train_set()}, validation{small::validation_set()};
  Trainer trainer;
};

/// Compares what ranks are told with what one process is; rank 0 is told all, the others all or nothing.
void check_told(const Told& found, const Told& expected) {
  REQUIRE(found.steps.size() == expected.steps.size());
  for (std::size_t i = 0; i < expected.steps.size(); ++i) {
    const StepResult &step = found.steps[i], &wanted = expected.steps[i];
    CAPTURE(wanted.step);
    CHECK(step.step == wanted.step);
    CHECK(step.epoch == wanted.epoch);
    CHECK(step.batch == wanted.batch);
    CHECK(step.batches == wanted.batches);
    CHECK(step.images == wanted.images);
    CHECK(step.learning_rate == wanted.learning_rate);
    CHECK(small::relative_error(step.loss, wanted.loss) <= 1e-3);
    REQUIRE(step.head_loss.size() == wanted.head_loss.size());
    for (std::size_t head = 0; head < wanted.head_loss.size(); ++head) {
      CHECK(small::relative_error(step.head_loss[head], wanted.head_loss[head]) <= 1e-3);
    }
  }
  REQUIRE(found.epochs.size() == expected.epochs.size());
  for (std::size_t i = 0; i < expected.epochs.size(); ++i) {
    const EpochResult &epoch = found.epochs[i], &wanted = expected.epochs[i];
    CAPTURE(wanted.epoch);
    CHECK(epoch.epoch == wanted.epoch);
    CHECK(small::relative_error(epoch.train_loss, wanted.train_loss) <= 1e-3);
    CHECK(small::relative_error(epoch.validation_loss, wanted.validation_loss) <= 1e-3);
    REQUIRE(epoch.train_accuracy.size() == wanted.train_accuracy.size());
    REQUIRE(epoch.validation.size() == wanted.validation.size());
    for (std::size_t head = 0; head < wanted.validation.size(); ++head) {
      CAPTURE(head);
      CHECK(small::relative_error(epoch.train_head_loss[head], wanted.train_head_loss[head]) <= 1e-3);
      // One image that is predicted otherwise.
      CHECK(std::abs(epoch.train_accuracy[head] - wanted.train_accuracy[head]) <= 1.01 / 40);
      const HeadResult& result = epoch.validation[head];
      CHECK(result.labelled == wanted.validation[head].labelled);
      CHECK(small::relative_error(result.loss, wanted.validation[head].loss) <= 1e-3);
      std::int64_t images = 0;
      for (const std::vector<std::int64_t>& row : result.confusion) {
        for (const std::int64_t cell : row) images += cell;
      }
      CHECK(images == wanted.validation[head].labelled);
    }
  }
}

Told told_by_one_process(const TrainOptions& with) {
  Told told;
  Run one({}, with);
  REQUIRE(run(one.trainer, told));
  return told;
}

/// Options of which rank 0 alone has an image in the last batch of an epoch.
TrainOptions with_a_last_batch_of_one() {
  TrainOptions with = options();
  with.batch = 11;
  return with;
}

}  // namespace

TEST_CASE("a run in ranks is that of one process, and uses each image once an epoch") {
  TrainOptions with = options();
  SUBCASE("plain") {}
  SUBCASE("a last batch of one image") { with = with_a_last_batch_of_one(); }
  SUBCASE("several batches a step, averaged weights") {
    with.accumulate = 3;
    with.ema_decay = 0.9;
  }
  SUBCASE("balanced class weights") { with.class_weights[""] = {.balanced = true}; }
  SUBCASE("a batch of an image for each rank") { with.batch = 4; }
  const Told expected = told_by_one_process(with);
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      Run ranks(group, with);
      Told told;
      CHECK(run(ranks.trainer, told));
      check_told(told, expected);
      CHECK(is_same(group, small::bits(small::learnt(ranks.trainer.session()))));
      const auto epochs = static_cast<double>(with.epochs);
      CHECK(ranks.train.loads_of_all(group) == std::vector<double>(small::train_images, epochs));
      CHECK(ranks.validation.loads_of_all(group) == std::vector<double>(21, epochs));
    });
  }
}

TEST_CASE(
    "a run in ranks has the sampled, changed and mixed images of one process, and learns ordered classes as it does") {
  TrainOptions with = options();
  with.augmentation.preset = AugmentPreset::strong;
  with.augmentation.mixup = 1.0;
  with.label_smoothing = 0.1;
  with.class_weights["side"] = {.values = {1, 3}};
  with.sampler = std::make_shared<const WeightedRandomSampler>(class_balanced_weights(small::train_set(), "side"));
  std::vector<Head> heads = small::heads();
  heads[0].ordinal = true;
  Told expected;
  Run one({}, with, heads);
  REQUIRE(run(one.trainer, expected));
  CHECK(expected.epochs[1].validation[0].within_one > 0);
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      Run ranks(group, with, heads);
      Told told;
      CHECK(run(ranks.trainer, told));
      check_told(told, expected);
      CHECK(is_same(group, small::bits(small::learnt(ranks.trainer.session()))));
    });
  }
}

TEST_CASE("a run of ranks that normalise on their own leaves them with the same bits") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      TrainOptions with = with_a_last_batch_of_one();
      with.sync_batch_norm = false;
      Run ranks(group, with);
      Told told;
      CHECK(run(ranks.trainer, told));
      CHECK(is_same(group, small::bits(small::learnt(ranks.trainer.session()))));
      CHECK(ranks.train.loads_of_all(group) == std::vector<double>(small::train_images, 2));
      if (group.rank() != 0) return;
      REQUIRE(told.epochs.size() == 2);
      CHECK(told.epochs[1].validation[0].labelled == 21);
      CHECK(told.steps.back().images == small::train_images);
    });
  }
}

TEST_CASE("a run in ranks leaves out a last batch that isn't full, and each image of it") {
  run_ranks(3, [&](ProcessGroup& group) {
    TrainOptions with = options();
    with.epochs = 1;
    with.drop_last = true;
    Run ranks(group, with);
    Told told;
    CHECK(run(ranks.trainer, told));
    const std::vector<double> loads = ranks.train.loads_of_all(group);
    CHECK(std::ranges::count(loads, 1.0) == 39);
    CHECK(std::ranges::count(loads, 0.0) == 6);
  });
}

TEST_CASE("ranks write what one process does, and a run goes on in another number of them") {
  TrainOptions with = options();
  with.epochs = 3;
  const Told expected = told_by_one_process(with);
  // Trains on in the folder, up to the end or a number of steps, and adds what is told.
  const auto go_on = [&](const ProcessGroup& group, const std::filesystem::path& out, std::size_t stop_after,
                         Told& told) {
    TrainOptions now = with;
    now.out = out;
    now.resume = true;  // where there is no run, it begins one
    now.checkpoint_minutes = 1e-6;
    Run ranks(group, now);
    CHECK(run(ranks.trainer, told, stop_after) == (stop_after == 0));
    CHECK(is_same(group, small::bits(small::learnt(ranks.trainer.session()))));
  };
  if (facet::test::launched_group() == nullptr) {
    // In the midst of the second epoch, then in that of the third; an epoch has 4 steps, and 2 batches of validation.
    const TemporaryFolder folder;
    Told told;
    for (const auto& [size, stop_after] : {std::pair<int, std::size_t>{2, 8}, {3, 5}}) {
      run_ranks(size, [&](ProcessGroup& group) {
        Told own;
        go_on(group, folder / "run", stop_after, group.rank() == 0 ? told : own);
      });
    }
    go_on({}, folder / "run", 0, told);
    check_told(told, expected);
    CHECK(read_metrics(folder / "run").size() == 3);
    return;
  }
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const facet::test::SharedFolder folder(group);
      Told told;
      go_on(group, folder / "run", 8, told);
      group.together([&] {
        if (group.rank() == 0) go_on({}, folder / "run", 5, told);
      });
      go_on(group, folder / "run", 0, told);
      if (group.rank() != 0) return;
      check_told(told, expected);
      CHECK(read_metrics(folder / "run").size() == 3);
    });
  }
}

TEST_CASE("ranks tell how long they wait for communication, in each epoch and in profiled steps") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      TrainOptions with = options();
      with.profile_steps = 3;  // steps 3, 5 and 6: an epoch has three full batches and a smaller one
      Run ranks(group, with);
      std::int64_t step = 0, told_at = 0;
      std::vector<StepProfile> profiles;
      std::vector<EpochResult> epochs;
      CHECK(small::train(ranks.trainer, {.step = [&](const StepResult& result) { step = result.step; },
                                         .epoch = [&](const EpochResult& epoch) { epochs.push_back(epoch); },
                                         .profile =
                                             [&](const StepProfile& profile) {
                                               profiles.push_back(profile);
                                               told_at = step;
                                             }}));
      CHECK(told_at == 6);
      REQUIRE(profiles.size() == 1);
      const StepProfile& profile = profiles[0];
      CHECK(profile.steps == 3);
      CHECK(profile.images == small::global_batch);
      CHECK(profile.processes == size);
      CHECK(profile.seconds_by_kind.contains("communication"));
      double sum = profile.waited_seconds;
      for (const auto& [kind, seconds] : profile.seconds_by_kind) sum += seconds;
      CHECK(sum <= profile.seconds);
      const StepProfile::Communication& communication = profile.communication;
      CHECK(communication.seconds > 0);
      CHECK(communication.waited_seconds > 0);
      CHECK(communication.other_seconds > 0);
      CHECK(communication.longest_other_seconds >= communication.other_seconds * (1 - 1e-9));
      CHECK(communication.hidden >= 0);
      CHECK(communication.hidden <= 1);
      CHECK(communication.cpu_seconds >= 0);
      CHECK(
          is_same(group, std::to_string(communication.seconds) + std::to_string(communication.longest_other_seconds)));
      REQUIRE(epochs.size() == 2);
      for (const EpochResult& epoch : epochs) {
        CHECK(epoch.communication_waited > 0);
        CHECK(epoch.waited + epoch.communication_waited <= 1);
      }
    });
  }
}

TEST_CASE("the same ranks continue a run to the same bits") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const facet::test::SharedFolder folder(group);
      Run whole(group, options());
      CHECK(whole.trainer.run());
      Told told;
      TrainOptions with = options(folder / "run");
      {
        Run stopped(group, with);
        CHECK(!run(stopped.trainer, told, 3));
      }
      with.resume = true;
      Run resumed(group, with);
      CHECK(run(resumed.trainer, told));
      CHECK(small::learnt(resumed.trainer.session()) == small::learnt(whole.trainer.session()));
    });
  }
}

TEST_CASE("ranks train on images of each epoch's size as one process does, and continue a run to the same bits") {
  TrainOptions with = small::resized_options();
  with.batch = small::global_batch;
  with.threads = with.loader_threads = 1;
  with.sync_batch_norm = true;
  const auto make = [](const ProcessGroup& group, TrainOptions now, small::Sized& train, small::Sized& validation) {
    now.processes = group;
    return std::make_unique<Trainer>(small::resizable_model(), small::resizable_info(), train, &validation, now);
  };
  Told expected;
  {
    small::Sized train{small::train_set()}, validation{small::validation_set()};
    REQUIRE(run(*make({}, with, train, validation), expected));
  }
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const facet::test::SharedFolder folder(group);
      small::Sized train{small::train_set()}, validation{small::validation_set()};
      Told told, of_resumed;
      std::vector<std::set<int>> loaded;
      const std::unique_ptr<Trainer> whole = make(group, with, train, validation);
      CHECK(small::train(*whole, {.step = [&](const StepResult& step) { told.steps.push_back(step); },
                                  .epoch =
                                      [&](const EpochResult& epoch) {
                                        told.epochs.push_back(epoch);
                                        loaded.push_back(train.take_sizes());
                                        CHECK(validation.take_sizes() == std::set<int>{small::full_size});
                                      }}));
      check_told(told, expected);
      CHECK(loaded == std::vector<std::set<int>>{{32}, {32}, {64}, {64}, {96}});
      const small::Learnt learnt = small::learnt(whole->session());
      CHECK(is_same(group, small::bits(learnt)));
      for (const std::size_t stop_after : {8, 9}) {  // an epoch has 4 steps: at the end of small images, and within
        TrainOptions now = with;
        now.out = folder / std::to_string(stop_after);
        CHECK(!run(*make(group, now, train, validation), of_resumed, stop_after));
        now.resume = true;
        const std::unique_ptr<Trainer> resumed = make(group, now, train, validation);
        CHECK(run(*resumed, of_resumed));
        CHECK(small::learnt(resumed->session()) == learnt);
      }
    });
  }
}

TEST_CASE("a stop that one rank asks for ends the run of all at the same step") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const facet::test::SharedFolder folder(group);
      TrainOptions with = options(folder / "run");
      Run ranks(group, with);
      int calls = 0;
      CHECK(!small::train(ranks.trainer, {.stop = [&] { return ++calls == 3 && group.rank() == 1; }}));
      CHECK(calls == 3);
      CHECK(is_same(group, small::bits(small::learnt(ranks.trainer.session()))));
      if (group.rank() == 0) {
        const train::LastCheckpoint last(train::RunFolder(with.out).last());
        CHECK(last.record().state.step == 3);
      }
      group.max(0);
      // In validation: the first of its two batches is the 5th call.
      calls = 3;
      CHECK(!small::train(ranks.trainer, {.stop = [&] { return ++calls == 5 && group.rank() == 1; }}));
      CHECK(calls == 5);
      CHECK(ranks.trainer.run());
      CHECK(is_same(group, small::bits(small::learnt(ranks.trainer.session()))));
    });
  }
}

TEST_CASE("a callback that throws on one rank ends the run of all") {
  run_ranks(3, [&](ProcessGroup& group) {
    Run ranks(group, options());
    std::string text;
    try {
      int calls = 0;
      small::train(ranks.trainer, {.stop = [&]() -> bool {
                     if (++calls == 2 && group.rank() == 1) throw std::runtime_error("the queue is gone");
                     return false;
                   }});
    } catch (const std::exception& error) {
      text = error.what();
    }
    CAPTURE(text);
    CHECK(contains(text, "the queue is gone"));
    CHECK(contains(text, group.name(1)) == (group.rank() != 1));
    CHECK(ranks.trainer.run());
    CHECK(is_same(group, small::bits(small::learnt(ranks.trainer.session()))));
  });
}

TEST_CASE("a sink that throws on rank 0 ends the run of all") {
  run_ranks(3, [&](ProcessGroup& group) {
    Run ranks(group, options());
    std::string text;
    try {
      small::train(ranks.trainer, {.step = [&](const StepResult& step) {
                     if (step.step == 2 && group.rank() == 0) throw std::runtime_error("the terminal is gone");
                   }});
    } catch (const std::exception& error) {
      text = error.what();
    }
    CAPTURE(text);
    CHECK(contains(text, "the terminal is gone"));
    CHECK(contains(text, group.name(0)) == (group.rank() != 0));
    CHECK(ranks.trainer.run());
  });
}

TEST_CASE("an image that one rank can't read ends the run of all, which is saved and can be resumed") {
  bool in_validation = false;
  SUBCASE("in training") {}
  SUBCASE("in validation") { in_validation = true; }
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const facet::test::SharedFolder folder(group);
      Run whole(group, options());
      REQUIRE(whole.trainer.run());
      TrainOptions with = options(folder / "run");
      with.processes = group;
      const std::int64_t own = share_of(small::global_batch, 1, size).first;  // of rank 1 in a full batch
      const std::int64_t position = 2 * small::global_batch + own;
      const std::int64_t trained = epoch_order(small::train_images, with.seed, 1)[static_cast<std::size_t>(position)];
      const Watched train(small::train_set(), in_validation ? -1 : trained);
      const Watched validation(small::validation_set(), in_validation ? own : -1);
      {
        Trainer trainer(small::rank_model(), small::info(), train, &validation, with);
        const std::string error = error_of([&] { trainer.run(); });
        CAPTURE(error);
        CHECK(contains(error, ": can't be read"));
        CHECK(contains(error, group.name(1)) == (group.rank() != 1));
        if (group.rank() == 0) CHECK(contains(error, "the steps before it are saved"));
      }
      group.max(0);
      if (group.rank() == 0) {
        const train::LastCheckpoint last(train::RunFolder(with.out).last());
        CHECK(last.record().state.step == (in_validation ? 4 : 2));
      }
      group.max(0);
      with.resume = true;
      Run resumed(group, with);
      CHECK(resumed.trainer.run());
      CHECK(small::learnt(resumed.trainer.session()) == small::learnt(whole.trainer.session()));
    });
  }
}

TEST_CASE("a run that rank 0 can't begin is begun by none") {
  run_ranks(3, [&](ProcessGroup& group) {
    const facet::test::SharedFolder folder(group);
    const TrainOptions with = options(folder / "run");
    {
      Run first(group, with);
      CHECK(first.trainer.run());
    }
    // The folder holds a run now.
    const std::string error = error_of([&] { Run again(group, with); });
    CAPTURE(error);
    CHECK(contains(error, (folder / "run").string()));
    CHECK(contains(error, group.name(0)) == (group.rank() != 0));
    CHECK(group.max(group.rank()) == 2);
  });
}

TEST_CASE("ranks end a run early after the same epoch") {
  run_ranks(4, [&](ProcessGroup& group) {
    TrainOptions with = options();
    with.epochs = 6;
    with.patience = 1;
    with.learning_rate = 1e-12;  // nothing is learnt, so the first epoch stays the best
    Run ranks(group, with);
    Told told;
    CHECK(run(ranks.trainer, told));
    if (group.rank() == 0) CHECK(told.epochs.size() < 6);
    CHECK(is_same(group, std::to_string(ranks.trainer.session().finished_steps())));
  });
}
