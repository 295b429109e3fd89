#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>

#include "comm/ranks.h"
#include "facet/session.h"
#include "testing.h"
#include "train/rank_run.h"

using namespace facet;
using facet::test::is_same;
using facet::test::run_ranks;
using small::sizes;

namespace {

/// What a call has thrown on this rank.
struct Failure {
  std::string text;  ///< empty: nothing was thrown
  std::optional<ErrorCode> code;
};

Failure failure_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return {error.what(), error.code()};
  } catch (const std::exception& error) {
    return {error.what(), {}};
  }
  return {};
}

/// Checks that a call that fails on rank 1 alone throws on all, with `part` in the message; the others name rank 1.
Failure check_failure(const ProcessGroup& group, const std::string& part, const std::function<void()>& call) {
  const Failure failure = failure_of(call);
  CAPTURE(failure.text);
  CHECK(contains(failure.text, part));
  CHECK(contains(failure.text, group.name(1)) == (group.rank() != 1));
  CHECK(!contains(failure.text, "\n"));
  return failure;
}

/// The values that steps train; running statistics may change in a step that fails.
small::Learnt weights(TrainingSession& session) {
  small::Learnt values = small::learnt(session);
  std::erase_if(values, [](const auto& entry) {
    return contains(entry.first, "running_") || contains(entry.first, "num_batches_tracked");
  });
  return values;
}

/// A session in ranks that has trained a batch, to see whether a failure leaves it as it is.
struct Ranks {
  explicit Ranks(const ProcessGroup& processes, const std::function<void(TrainOptions&)>& change = {},
                 Graph graph = small::rank_model())
      : group(processes), session(std::move(graph), small::info(), options(processes, change)) {
    session.step(good);
  }
  static TrainOptions options(const ProcessGroup& processes, const std::function<void(TrainOptions&)>& change) {
    TrainOptions result = small::rank_options();
    result.processes = processes;
    if (change) change(result);
    return result;
  }

  /// Checks that no weight has changed since `before`, and that the session goes on, with the same bits on all ranks.
  void check_goes_on(const small::Learnt& before) {
    CHECK(weights(session) == before);
    CHECK(session.finished_steps() == 1);
    const BatchResult result = session.step(good);
    CHECK(result.step == 2);
    CHECK(std::isfinite(result.loss));
    CHECK(weights(session) != before);
    CHECK(is_same(group, small::bits(small::learnt(session))));
  }

  ProcessGroup group;
  Batch good = small::share(small::first_batches(1).front(), group);
  TrainingSession session;
};

/// A model with a head of the caller's own loss.
Graph custom_model(const LossFunction& function) {
  Graph graph;
  Value x = graph.input({3, small::size, small::size});
  x = flatten(max_pool(relu(batch_norm(convolution(x, {.channels = 8}))), {}));
  for (const Head& head : small::heads()) {
    const Value logits = linear(x, {.features = std::ssize(head.classes), .name = head.name});
    head.name == "side" ? custom_loss(logits, head.name, function) : softmax_cross_entropy(logits, head.name);
  }
  return graph;
}

/// What the function of a custom loss does on the rank that fails.
struct Trouble {
  std::function<double()> make = {};  ///< empty: nothing
};

LossFunction troubled_loss(const Trouble& trouble) {
  return [&trouble](const LossInput& input, std::span<float> gradient) {
    if (trouble.make) return trouble.make();
    double sum = 0;
    for (std::size_t i = 0; i < input.logits.size(); ++i) {
      sum += static_cast<double>(input.logits[i]) * input.logits[i];
      if (!gradient.empty()) gradient[i] = 2 * input.logits[i] / static_cast<float>(input.images);
    }
    return sum / static_cast<double>(input.images);
  };
}

}  // namespace

TEST_CASE("a batch that doesn't fit on one rank is refused by all, and changes nothing") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      Ranks ranks(group), control(group);
      const small::Learnt before = small::learnt(ranks.session);
      const auto check = [&](const std::string& part, const std::function<void(Batch&)>& change) {
        Batch batch = ranks.good;
        if (group.rank() == 1) change(batch);
        const Failure failure = check_failure(group, part, [&] { ranks.session.step(batch); });
        CHECK(failure.code == ErrorCode::invalid_argument);
        CHECK(small::learnt(ranks.session) == before);
      };
      check("the label 2 for head side", [](Batch& batch) { batch.labels[static_cast<std::size_t>(batch.size)] = 2; });
      check("label -2", [](Batch& batch) { batch.labels[0] = -2; });
      check("bytes of pixels", [](Batch& batch) { batch.pixels.pop_back(); });
      check_failure(group, "learning_rate is -1",
                    [&] { ranks.session.step(ranks.good, {.learning_rate = group.rank() == 1 ? -1 : 1e-3}); });
      ranks.check_goes_on(weights(ranks.session));
      // As if there had been no failure.
      control.session.step(control.good);
      CHECK(small::learnt(ranks.session) == small::learnt(control.session));
    });
  }
}

TEST_CASE("batches of more images than the global batch, and of none, are refused by all ranks") {
  run_ranks(2, [&](ProcessGroup& group) {
    Ranks ranks(group);
    const small::Learnt before = small::learnt(ranks.session);
    const Batch all = small::first_batches(1).front();
    CHECK(contains(failure_of([&] { ranks.session.step(all); }).text, "images"));
    CHECK(contains(failure_of([&] { ranks.session.step(Batch{}); }).text, "images"));
    CHECK(small::learnt(ranks.session) == before);
    ranks.check_goes_on(weights(ranks.session));
  });
}

TEST_CASE("a wrong target on one rank fails on all") {
  for (const bool sync : {true, false}) {
    CAPTURE(sync);
    for (const int size : sizes) {
      run_ranks(size, [&](ProcessGroup& group) {
        Ranks ranks(group, [&](TrainOptions& options) { options.sync_batch_norm = sync; });
        const small::Learnt before = weights(ranks.session);
        Batch batch = ranks.good;
        batch.targets.resize(1);
        for (std::int64_t image = 0; image < batch.size; ++image) {
          batch.targets[0].insert(batch.targets[0].end(), {0.5F, 0.25F, 0.25F});
        }
        if (group.rank() == 1) batch.targets[0][1] = -1;
        check_failure(group, "colour", [&] { ranks.session.step(batch); });
        ranks.check_goes_on(before);
      });
    }
  }
}

TEST_CASE("a weight that isn't finite on one rank fails on all") {
  for (const bool sync : {true, false}) {
    CAPTURE(sync);
    for (const int size : sizes) {
      run_ranks(size, [&](ProcessGroup& group) {
        Ranks ranks(group, [&](TrainOptions& options) { options.sync_batch_norm = sync; });
        const small::Learnt before = weights(ranks.session);
        const std::vector<float> bias = ranks.session.get("side.logits.bias");
        std::vector<float> poisoned = bias;
        if (group.rank() == 1) poisoned[0] = std::numeric_limits<float>::quiet_NaN();
        ranks.session.set("side.logits.bias", poisoned);
        const Failure failure = check_failure(group, "side.logits.bias", [&] { ranks.session.step(ranks.good); });
        CHECK(failure.code == ErrorCode::non_finite);
        ranks.session.set("side.logits.bias", bias);
        ranks.check_goes_on(before);
      });
    }
  }
}

TEST_CASE("what a loss of the caller's own does on one rank reaches all") {
  for (const bool sync : {true, false}) {
    CAPTURE(sync);
    for (const int size : sizes) {
      run_ranks(size, [&](ProcessGroup& group) {
        Trouble trouble;
        Ranks ranks(
            group, [&](TrainOptions& options) { options.sync_batch_norm = sync; },
            custom_model(troubled_loss(trouble)));
        const small::Learnt before = weights(ranks.session);
        const auto fails = [&](const std::string& part, const std::function<double()>& make) {
          if (group.rank() == 1) trouble.make = make;
          const Failure failure = check_failure(group, part, [&] { ranks.session.step(ranks.good); });
          trouble.make = {};
          CHECK(weights(ranks.session) == before);
          return failure;
        };
        const Failure own =
            fails("the table is empty", []() -> double { throw std::runtime_error("the table is empty"); });
        if (group.rank() == 1) CHECK(own.text == "the table is empty");
        CHECK(own.code.has_value() == (group.rank() != 1));
        const Failure error = fails("no space", []() -> double { throw Error("no space", ErrorCode::io); });
        CHECK(error.code == ErrorCode::io);
        const Failure loss = fails("side", [] { return std::numeric_limits<double>::quiet_NaN(); });
        CHECK(loss.code == ErrorCode::non_finite);
        ranks.check_goes_on(before);
      });
    }
  }
}

TEST_CASE("a failure in a step of several batches begins it anew on all ranks") {
  run_ranks(3, [&](ProcessGroup& group) {
    const auto accumulate = [](TrainOptions& options) { options.accumulate = 2; };
    Ranks ranks(group, accumulate);
    const small::Learnt before = weights(ranks.session);
    ranks.session.step(ranks.good, {.update = false});
    Batch bad = ranks.good;
    bad.targets = {std::vector<float>(static_cast<std::size_t>(bad.size) * 3, group.rank() == 1 ? -1.0F : 0.5F)};
    check_failure(group, "colour", [&] { ranks.session.step(bad); });
    CHECK(weights(ranks.session) == before);
    CHECK(ranks.session.step(ranks.good, {.update = false}).step == 2);
    CHECK(ranks.session.step(ranks.good).step == 2);
    CHECK(is_same(group, small::bits(small::learnt(ranks.session))));
  });
}

TEST_CASE("an empty share has no failure of its own") {
  // The last rank has no image of the batch, and rank 1's one is wrong.
  run_ranks(4, [&](ProcessGroup& group) {
    Ranks ranks(group);
    const small::Learnt before = weights(ranks.session);
    Batch batch = small::share(small::part_of(small::first_batches(1).front(), {.first = 0, .size = 2}), group);
    CHECK(batch.size == (group.rank() < 2 ? 1 : 0));
    batch.targets = {{}};
    if (batch.size == 1) batch.targets = {{0.5F, group.rank() == 1 ? -0.5F : 0.5F, 0}};
    check_failure(group, "colour", [&] { ranks.session.step(batch); });
    ranks.check_goes_on(before);
  });
}

TEST_CASE("an image that one rank can't read ends an evaluation for all") {
  /// The validation images, one of which can't be read.
  class Lossy final : public Dataset {
   public:
    explicit Lossy(std::int64_t image) : image_(image) {}
    std::int64_t size() const override { return data_.size(); }
    const std::vector<Head>& heads() const override { return data_.heads(); }
    std::span<const std::int32_t> labels(std::int64_t index) const override { return data_.labels(index); }
    std::string name(std::int64_t index) const override { return data_.name(index); }
    void load(const LoadRequest& request, std::span<std::uint8_t> pixels) const override {
      if (request.index == image_) throw Error("the image can't be read", ErrorCode::io);
      data_.load(request, pixels);
    }

   private:
    const Dataset& data_ = small::validation_set();
    std::int64_t image_;
  };
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      Ranks ranks(group);
      const Lossy data(share_of(small::global_batch, 1, size).first);
      const Failure failure = check_failure(group, "the image can't be read", [&] { ranks.session.evaluate(data); });
      CHECK(failure.code == ErrorCode::io);
      CHECK(ranks.session.evaluate(small::validation_set())[0].labelled == 21);
      ranks.check_goes_on(weights(ranks.session));
    });
  }
}

TEST_CASE("a callback that throws on one rank ends an evaluation for all") {
  run_ranks(3, [&](ProcessGroup& group) {
    Ranks ranks(group);
    check_failure(group, "enough", [&] {
      ranks.session.evaluate(small::validation_set(), [&]() -> bool {
        if (group.rank() == 1) throw std::runtime_error("enough");
        return false;
      });
    });
    ranks.check_goes_on(weights(ranks.session));
  });
}

TEST_CASE("a checkpoint that can't be written or read fails on all ranks") {
  run_ranks(3, [&](ProcessGroup& group) {
    Ranks ranks(group);
    const facet::test::SharedFolder folder(group);
    const small::Learnt before = small::learnt(ranks.session);
    if (group.rank() == 0) write_file(folder / "file", "not a folder");
    group.max(0);
    // Rank 0 writes.
    const Failure unwritten = failure_of([&] { ranks.session.save_checkpoint(folder / "file" / "run"); });
    CHECK(!unwritten.text.empty());
    CHECK(contains(unwritten.text, group.name(0)) == (group.rank() != 0));
    CHECK(!failure_of([&] { ranks.session.save(folder / "file" / "model.safetensors"); }).text.empty());
    CHECK(!failure_of([&] { ranks.session.load_checkpoint(folder / "none"); }).text.empty());
    CHECK(!failure_of([&] { ranks.session.load(folder / "none"); }).text.empty());
    CHECK(small::learnt(ranks.session) == before);
    ranks.check_goes_on(weights(ranks.session));
  });
}

TEST_CASE("a session that one rank can't make is made by none") {
  run_ranks(3, [&](ProcessGroup& group) {
    check_failure(group, "freeze", [&] {
      Ranks(group, [&](TrainOptions& options) {
        if (group.rank() == 1) options.freeze = {"no.weight"};
      });
    });
    // The ranks may try again.
    Ranks ranks(group);
    ranks.check_goes_on(weights(ranks.session));
  });
}
