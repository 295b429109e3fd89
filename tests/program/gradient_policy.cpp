#include "optim/gradient_policy.h"

#include <doctest/doctest.h>

#include <barrier>
#include <chrono>
#include <exception>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/parallel.h"
#include "facet/error.h"
#include "program/parameter_store.h"
#include "program/small_model.h"

namespace facet::testing {
namespace {

using lowering::Instruction;
using lowering::RunState;
using lowering::Tensor;
using optim::StepBuilder;

/// Updates each parameter on a thread of its own, which starts after the last gradient; the next step waits for an
/// update before it reads the parameter. As one that exchanges gradients would, it keeps them in the store until then.
class DelayedUpdates final : public optim::GradientPolicy {
 public:
  bool stores_gradients() const override { return true; }

  void before_read(StepBuilder& step, int parameter) override {
    step.append(step.parameter(parameter).name + ".wait", "wait", {step.stored_gradient(parameter)},
                [this, parameter](std::span<void* const>, RunState&) { wait_for(parameter); });
  }

  void gradient_ready(StepBuilder& step, int parameter, const Tensor& gradient) override {
    const Tensor kept = step.stored_gradient(parameter);
    const Tensor ordered = step.in_stored_order(parameter, gradient);
    step.append(step.parameter(parameter).name + ".copy", "copy", {ordered, kept},
                [count = kept.layout.get_size() / sizeof(float)](std::span<void* const> at, RunState&) {
                  std::copy_n(static_cast<const float*>(at[0]), count, static_cast<float*>(at[1]));
                });
    step.defer(parameter, kept);
  }

  void backward_done(StepBuilder& step) override {
    for (const auto& [parameter, gradient] : step.deferred()) {
      Instruction start = step.update(parameter, gradient);
      start.kernel = [this, index = parameter, update = start.kernel](std::span<void* const> at, RunState& state) {
        std::vector<void*> addresses(at.begin(), at.end());
        pending_[index] = std::async(std::launch::async, [=, own = state]() mutable {
          std::this_thread::sleep_for(std::chrono::milliseconds(2));
          const base::ComputeScope scope(1);
          update(addresses, own);
        });
        ++started_;
      };
      step.append(std::move(start));
    }
  }

  void wait() override {
    std::exception_ptr first;
    while (!pending_.empty()) {
      try {
        wait_for(pending_.begin()->first);
      } catch (const Error&) {
        if (first == nullptr) first = std::current_exception();
      }
    }
    if (first != nullptr) std::rethrow_exception(first);
  }

  int started() const { return started_; }
  std::size_t pending() const { return pending_.size(); }

 private:
  void wait_for(int parameter) {
    const auto found = pending_.find(parameter);
    if (found == pending_.end()) return;
    std::future<void> update = std::move(found->second);
    pending_.erase(found);
    update.get();
  }

  std::map<int, std::future<void>> pending_;
  int started_ = 0;
};

/// The gradients of several stores, each trained by a thread of its own, and the point where the threads meet.
struct Ranks {
  explicit Ranks(int count) : meeting(count), gradients(static_cast<std::size_t>(count)) {}
  std::barrier<> meeting;
  std::vector<const float*> gradients;  ///< by rank: the first element of its bucket
};

/// Averages the gradients over all ranks, in rank order and in one bucket, before each rank updates its own store.
class AverageOverRanks final : public optim::GradientPolicy {
 public:
  AverageOverRanks(Ranks& ranks, std::size_t rank) : ranks_(ranks), rank_(rank) {}

  bool stores_gradients() const override { return true; }

  void gradient_ready(StepBuilder& step, int parameter, const Tensor& gradient) override {
    const Tensor kept = step.stored_gradient(parameter);
    step.append(step.parameter(parameter).name + ".copy", "copy", {step.in_stored_order(parameter, gradient), kept},
                [count = kept.layout.get_size() / sizeof(float)](std::span<void* const> at, RunState&) {
                  std::copy_n(static_cast<const float*>(at[0]), count, static_cast<float*>(at[1]));
                });
    step.defer(parameter, kept);
  }

  void backward_done(StepBuilder& step) override {
    const Tensor bucket = step.stored_gradients(step.deferred().front().first, step.deferred().back().first);
    step.append("bucket.send", "send", {bucket}, [this](std::span<void* const> at, RunState&) {
      ranks_.gradients[rank_] = static_cast<const float*>(at[0]);
      ranks_.meeting.arrive_and_wait();
    });
    step.append("bucket.receive", "receive", {bucket},
                [this, sum = std::vector<float>(bucket.layout.get_size() / sizeof(float))](std::span<void* const> at,
                                                                                           RunState&) mutable {
                  std::ranges::fill(sum, 0.0F);
                  for (const float* rank : ranks_.gradients) {
                    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += rank[i];
                  }
                  ranks_.meeting.arrive_and_wait();  // all have read, so that all may write
                  for (std::size_t i = 0; i < sum.size(); ++i) {
                    static_cast<float*>(at[0])[i] = sum[i] / static_cast<float>(ranks_.gradients.size());
                  }
                });
    for (const auto& [parameter, gradient] : step.deferred()) step.append(step.update(parameter, gradient));
  }

 private:
  Ranks& ranks_;
  std::size_t rank_;
};

program::ProgramOptions training(std::int64_t batch, const optim::Optimizer& rule,
                                 std::shared_ptr<optim::GradientPolicy> policy = {}) {
  return {.batch = batch,
          .mode = program::Mode::training,
          .mean = {0.5F, 0.5F, 0.5F},
          .std = {0.3F, 0.3F, 0.3F},
          .seed = 3,
          .optimizer = &rule,
          .gradient_policy = std::move(policy)};
}

std::vector<std::vector<float>> trained_values(const Parameters& parameters) {
  std::vector<std::vector<float>> values;
  for (std::size_t i = 0; i < parameters.list().size(); ++i) {
    if (parameters.list()[i].is_trained()) values.push_back(parameters.get(static_cast<int>(i)));
  }
  return values;
}

}  // namespace

TEST_CASE("gradient policy: updates that run behind the next step's beginning give the same bits") {
  const Problem problem = small_model(6);
  const auto rule = optim::lamb({.groups = {.weight_decay = 0.1}});
  Parameters parameters = random_parameters(problem.graph), delayed = random_parameters(problem.graph);
  const auto policy = std::make_shared<DelayedUpdates>();
  Session at_once(problem.graph, parameters, training(6, *rule));
  Session session(problem.graph, delayed, training(6, *rule, policy));
  for (std::int64_t step = 1; step <= 4; ++step) {
    CHECK(session.run(problem, step, 1e-2F) == at_once.run(problem, step, 1e-2F));
    CHECK(policy->pending() > 0);
  }
  policy->wait();
  CHECK(policy->pending() == 0);
  CHECK(policy->started() == 4 * static_cast<int>(trained_values(parameters).size()));
  CHECK(snapshot(delayed) == snapshot(parameters));
}

TEST_CASE("gradient policy: the next step, or wait(), throws the error of an update that runs behind") {
  const Problem problem = small_model(4);
  const auto rule = optim::sgd();
  for (const bool steps : {true, false}) {
    Parameters parameters = random_parameters(problem.graph);
    const auto policy = std::make_shared<DelayedUpdates>();
    Session session(problem.graph, parameters, training(4, *rule, policy));
    session.run(problem, 1, std::numeric_limits<float>::infinity());
    const auto go_on = [&] { steps ? static_cast<void>(session.run(problem, 2, 1e-3F)) : policy->wait(); };
    CHECK_THROWS_WITH_AS(go_on(), doctest::Contains("isn't finite after its update"), Error);
    if (steps) CHECK_THROWS_AS(policy->wait(), Error);  // that of another parameter
    CHECK(policy->pending() == 0);
  }
}

TEST_CASE("gradient policy: two stores that average their gradients train as one that accumulates both batches") {
  const Problem problem = small_model(8, false);
  Problem halves[] = {first_images(problem, small_model(4, false).graph, 4), small_model(4, false)};
  const std::size_t half = problem.pixels.size() / 2;
  halves[1].pixels.assign(problem.pixels.begin() + static_cast<std::ptrdiff_t>(half), problem.pixels.end());
  for (std::size_t head = 0; head < problem.graph.heads().size(); ++head) {
    std::copy_n(problem.labels.begin() + static_cast<std::ptrdiff_t>(head * 8 + 4), 4,
                halves[1].labels.begin() + static_cast<std::ptrdiff_t>(head * 4));
  }
  const auto rule = optim::adam();
  constexpr std::int64_t steps = 3;

  Parameters one = random_parameters(problem.graph);
  Session accumulating(halves[0].graph, one, training(4, *rule, optim::update_policy({.accumulate = true})));
  {
    const base::ComputeScope scope(test_threads);
    for (std::int64_t step = 1; step <= steps; ++step) {
      for (std::int64_t part = 0; part < 2; ++part) {
        accumulating.program().run({.pixels = halves[static_cast<std::size_t>(part)].pixels.data(),
                                    .labels = halves[static_cast<std::size_t>(part)].labels.data(),
                                    .step = step,
                                    .learning_rate = 1e-3F,
                                    .batches_before = part,
                                    .update = part == 1});
      }
    }
  }

  Ranks ranks(2);
  std::vector<Parameters> stores;
  for (int rank = 0; rank < 2; ++rank) stores.push_back(random_parameters(problem.graph));
  std::vector<std::unique_ptr<Session>> sessions;
  for (std::size_t rank = 0; rank < 2; ++rank) {
    sessions.push_back(std::make_unique<Session>(halves[rank].graph, stores[rank],
                                                 training(4, *rule, std::make_shared<AverageOverRanks>(ranks, rank))));
  }
  CHECK(*stores[0].state().plan == *stores[1].state().plan);
  std::vector<std::future<void>> threads;
  for (std::size_t rank = 0; rank < 2; ++rank) {
    threads.push_back(std::async(std::launch::async, [&, rank] {
      try {
        for (std::int64_t step = 1; step <= steps; ++step) sessions[rank]->run(halves[rank], step, 1e-3F);
      } catch (...) {
        ranks.meeting.arrive_and_drop();  // the other rank goes on, and the test fails
        throw;
      }
    }));
  }
  for (std::future<void>& thread : threads) thread.get();
  CHECK(trained_values(stores[0]) == trained_values(stores[1]));
  CHECK(trained_values(stores[0]) == trained_values(one));
}

}  // namespace facet::testing
