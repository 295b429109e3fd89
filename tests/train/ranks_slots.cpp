#include <doctest/doctest.h>

#include <algorithm>

#include "base/bf16.h"
#include "comm/ranks.h"
#include "facet/precision.h"
#include "facet/session.h"
#include "testing.h"
#include "train/rank_run.h"
#include "train/run_folder.h"

using namespace facet;
using facet::test::is_same;
using facet::test::run_ranks;
using facet::test::SharedFolder;
using small::sizes;

namespace {

/// A session that has trained as many steps.
TrainingSession trained(const ProcessGroup& group, std::size_t steps, PrecisionChoice precision = PrecisionChoice::f32,
                        double ema_decay = 0.5) {
  TrainOptions options = small::rank_options();
  options.processes = group;
  options.precision = precision;
  options.ema_decay = ema_decay;
  TrainingSession session(small::rank_model(), small::info(), options);
  for (const Batch& batch : small::first_batches(steps)) session.step(small::share(batch, group));
  return session;
}

/// Checks that the slots are zeros but in this rank's parts, and that the ranks' parts are all.
void check_own_parts(const ProcessGroup& group, TrainingSession& session) {
  const Parameters::State& store = session.parameters().state();
  const comm::BucketExchange* const exchange = session.state().gradient_policy->exchange();
  REQUIRE(exchange != nullptr);
  REQUIRE(!store.slots.empty());
  std::vector<int> owners(store.trained_elements, -1);
  for (int rank = 0; rank < group.size(); ++rank) {
    for (const comm::Part& part : exchange->parts_within({0, store.trained_elements}, rank)) {
      for (std::size_t i = part.begin; i < part.end(); ++i) owners.at(i) = rank;
    }
  }
  CHECK(std::ranges::count(owners, -1) == 0);
  CHECK(std::ranges::count(owners, group.rank()) == static_cast<std::ptrdiff_t>(store.own_slot_elements));
  CHECK(store.own_slot_elements < store.trained_elements);
  for (const base::PageBuffer& slot : store.slots) {
    const auto* const elements = reinterpret_cast<const float*>(slot.data());
    std::size_t others = 0;
    std::vector<double> own{0};
    for (std::size_t i = 0; i < owners.size(); ++i) {
      if (elements[i] == 0) continue;
      owners[i] == group.rank() ? own[0] += 1 : others += 1;
    }
    CHECK(others == 0);
    group.communicator().sum(std::span<double>(own));
    CHECK(own[0] > 0);
  }
}

/// Checks that the weights that forward reads in bf16 are the f32 ones, rounded, on all ranks the same.
void check_copies(const ProcessGroup& group, TrainingSession& session) {
  CHECK(is_same(group, small::bits(small::learnt(session))));
  const Parameters::State& store = session.parameters().state();
  std::size_t wrong = 0, copied = 0;
  for (int index = 0; index < static_cast<int>(store.list.size()); ++index) {
    const std::uint16_t* const copy = store.bf16_copy(index);
    if (copy == nullptr) continue;
    copied += store.stored_elements(index);
    for (std::size_t i = 0; i < store.stored_elements(index); ++i) {
      if (copy[i] != base::to_bf16(store.value(index)[i])) ++wrong;
    }
  }
  CHECK(copied > 0);
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("each rank has the optimiser's state of its own parts alone, also after saving and loading") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const SharedFolder folder(group);
      TrainingSession session = trained(group, 3);
      check_own_parts(group, session);
      session.save_checkpoint(folder / "run");
      check_own_parts(group, session);
      TrainingSession loaded = trained(group, 0);
      loaded.load_checkpoint(folder / "run");
      check_own_parts(group, loaded);
      CHECK(small::learnt(loaded) == small::learnt(session));
      const Batch next = small::share(small::first_batches(4).back(), group);
      session.step(next);
      loaded.step(next);
      check_own_parts(group, loaded);
      CHECK(small::learnt(loaded) == small::learnt(session));
    });
  }
}

TEST_CASE("another number of ranks loads the optimiser's state to the same bits") {
  if (facet::test::launched_group() != nullptr) return;  // MPI has as many ranks as it has started
  const TemporaryFolder folder;
  small::Learnt saved;
  run_ranks(3, [&](ProcessGroup& group) {
    TrainingSession session = trained(group, 3);
    session.save_checkpoint(folder / "run");
    const small::Learnt learnt = small::learnt(session);
    if (group.rank() == 0) saved = learnt;
  });
  CHECK(std::ranges::any_of(saved.at("stem.conv.weight.exp_avg"), [](float element) { return element != 0; }));
  for (const int size : {1, 2, 3, 4}) {
    CAPTURE(size);
    run_ranks(size, [&](ProcessGroup& group) {
      TrainingSession session = trained(group, 1);
      session.load_checkpoint(folder / "run");
      CHECK(session.finished_steps() == 3);
      CHECK(small::learnt(session) == saved);
      // Those that one process has written, and that the ranks write, are the same.
      session.save_checkpoint(folder / std::to_string(size));
      const auto optimizer_file = [&](const std::string& name) {
        return read_file(train::LastCheckpoint(train::RunFolder(folder / name).last()).optimizer_file());
      };
      if (group.rank() == 0) CHECK(optimizer_file(std::to_string(size)) == optimizer_file("run"));
    });
  }
}

TEST_CASE("what reads the f32 weights of ranks that give each other bf16 ones finds the newest") {
  if (!has_native_bf16()) {
    MESSAGE("skipped: this CPU, or this oneDNN, computes no bf16");
    return;
  }
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const SharedFolder folder(group);
      TrainingSession session = trained(group, 2, PrecisionChoice::bf16, 0);
      check_copies(group, session);
      CHECK(session.keep_if_best(1));
      const small::Learnt best = small::learnt(session);
      const Batch next = small::share(small::first_batches(4).back(), group);
      session.step(next);
      session.save_checkpoint(folder / "run");
      check_copies(group, session);
      const small::Learnt saved = small::learnt(session);
      CHECK(saved != best);

      TrainingSession loaded = trained(group, 1, PrecisionChoice::bf16, 0);
      loaded.load_checkpoint(folder / "run");
      check_copies(group, loaded);
      CHECK(small::learnt(loaded) == saved);
      session.step(next);
      loaded.step(next);
      const Parameter& weight = session.graph().parameters().front();
      CHECK(loaded.get(weight.name) == session.get(weight.name));
      CHECK(session.get(weight.name) != saved.at(weight.name));
      CHECK(small::learnt(loaded) == small::learnt(session));

      session.restore_best();
      check_copies(group, session);
      for (const Parameter& each : session.graph().parameters()) CHECK(session.get(each.name) == best.at(each.name));
    });
  }
}

TEST_CASE("the moving average of f32 weights is the same on all ranks that give each other bf16 ones") {
  if (!has_native_bf16()) {
    MESSAGE("skipped: this CPU, or this oneDNN, computes no bf16");
    return;
  }
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      TrainingSession session = trained(group, 3, PrecisionChoice::bf16);
      check_copies(group, session);
      small::Learnt averages, weights;
      for (const Parameter& parameter : session.evaluated_parameters().list()) {
        if (!parameter.is_trained()) continue;
        const int index = session.parameters().find(parameter.name);
        averages[parameter.name] = session.evaluated_parameters().get(index);
        weights[parameter.name] = session.parameters().get(index);
      }
      CHECK(is_same(group, small::bits(averages)));
      CHECK(averages != weights);
    });
  }
}

TEST_CASE("a checkpoint that can't be read or written to its end fails on all ranks, which go on") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const SharedFolder folder(group);
      TrainingSession session = trained(group, 2);
      session.save_checkpoint(folder / "run");
      const small::Learnt before = small::learnt(session);
      if (group.rank() == 0) {
        // A folder stands where the average is written, after the optimiser's state.
        write_file(folder / "unwritten" / "checkpoints" / "last.average-2.safetensors" / "file", "");
        // The last tensor of the optimiser's state is damaged.
        const std::filesystem::path file =
            train::LastCheckpoint(train::RunFolder(folder / "run").last()).optimizer_file();
        std::string bytes = read_file(file);
        bytes.back() = static_cast<char>(bytes.back() ^ 1);
        write_file(file, bytes);
      }
      group.max(0);
      const auto check = [&](const std::string& error, const std::string& part) {
        CAPTURE(error);
        CHECK(contains(error, part));
        CHECK(contains(error, group.name(0)) == (group.rank() != 0));
      };
      check(error_of([&] { session.save_checkpoint(folder / "unwritten"); }), "last.average-2.safetensors");
      CHECK(small::learnt(session) == before);

      TrainingSession other = trained(group, 1);
      const small::Learnt own = small::learnt(other);
      check(error_of([&] { other.load_checkpoint(folder / "run"); }), "last.optimizer-2.safetensors");
      // What was read before the damage is in place on all ranks.
      const small::Learnt half = small::learnt(other);
      CHECK(half.at("stem.conv.weight") == before.at("stem.conv.weight"));
      CHECK(half.at("stem.conv.weight.exp_avg") == before.at("stem.conv.weight.exp_avg"));
      CHECK(half != before);
      CHECK(half != own);
      CHECK(is_same(group, small::bits(half)));
      other.step(small::share(small::first_batches(2).back(), group));
      CHECK(is_same(group, small::bits(small::learnt(other))));
      check_own_parts(group, other);
    });
  }
}
