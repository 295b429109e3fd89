#include "data/worker_threads.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <latch>
#include <stdexcept>
#include <vector>

#include "data/make_jpeg.h"
#include "facet/dataset.h"
#include "facet/loader.h"

using facet::contains;
using facet::error_of;
using facet::data::for_each_index;
using facet::data::ThreadDemand;
using facet::data::WorkerThreads;

namespace {

constexpr const char* refused =
    " that decode images cannot be started: Resource temporarily unavailable; request fewer";

/// While it lives, this process can't map the stacks of many threads.
class FewStacks {
 public:
  FewStacks() {
    ::getrlimit(RLIMIT_AS, &before_);
    std::int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit less = before_;
    less.rlim_cur = static_cast<rlim_t>(pages) * 4096 + (rlim_t{64} << 20);
    ::setrlimit(RLIMIT_AS, &less);
  }
  ~FewStacks() { ::setrlimit(RLIMIT_AS, &before_); }
  FewStacks(const FewStacks&) = delete;
  FewStacks& operator=(const FewStacks&) = delete;

 private:
  rlimit before_{};
};

/// Whether the address space can be limited: sanitizers need much of it.
constexpr bool memory_can_be_limited =
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    false;
#else
    true;
#endif

}  // namespace

TEST_CASE("all threads work at the same time and are joined") {
  for (const int count : {0, 1, 2, 50}) {
    std::latch all(count);
    std::atomic<int> done = 0;
    {
      WorkerThreads threads(count, [&](int) {
        all.arrive_and_wait();
        ++done;
      });
      threads.start(count);
    }
    CHECK(done == count);
  }
}

TEST_CASE("a thread that cannot be started is an error, and no thread calls `work`") {
  if (!memory_can_be_limited) return;
  std::atomic<int> worked = 0;
  for (int again = 0; again < 3; ++again) {
    const FewStacks few;
    WorkerThreads threads(2000, [&](int) { ++worked; });
    const std::string error = error_of([&] { threads.start(2000); });
    CHECK(threads.count() == 0);
    CAPTURE(error);
    CHECK(contains(error, " of 2000"));
    CHECK(contains(error, refused));
    CHECK(!contains(error, "\n"));
  }
  CHECK(worked == 0);
}

TEST_CASE("more threads can be started later; each has its number") {
  std::latch all(5);
  std::vector<std::atomic<int>> calls(5);
  {
    WorkerThreads threads(5, [&](int number) {
      ++calls[static_cast<std::size_t>(number)];
      all.arrive_and_wait();
    });
    for (const int more : {1, 0, 3, 1}) threads.start(more);
    CHECK(threads.count() == 5);
  }
  for (const auto& count : calls) CHECK(count == 1);
}

namespace {

/// A model of a consumer that needs `step` seconds for a batch, which one thread decodes in `decode` seconds. It
/// measures the time and the waiting time of the last call of take().
struct Consumer {
  double decode, step;
  double waited = 0, seconds = 0;
  int max_threads = 0;

  void take(ThreadDemand& demand, int batches) {
    waited = seconds = 0;
    for (int i = 0; i < batches; ++i) {
      const double wait = std::max(decode / demand.threads() - step, 0.0);
      waited += wait;
      seconds += step + wait;
      demand.add_batch(step + wait, wait, decode);
      max_threads = std::max(max_threads, demand.threads());
    }
  }
};

}  // namespace

TEST_CASE("within 20 batches there are enough threads to keep the consumer from waiting") {
  for (const double decode : {0.5, 1.0, 1.5, 3.0, 7.9, 30.0, 63.0}) {
    CAPTURE(decode);
    ThreadDemand demand(64);
    Consumer consumer{decode, 1};
    consumer.take(demand, 20);
    consumer.take(demand, 2000);
    CHECK(consumer.waited / consumer.seconds < 0.02);
    CHECK(demand.threads() >= decode);
    CHECK(consumer.max_threads <= 2 * decode + 1);
    CHECK(demand.threads() <= std::max(1.0, decode / 0.7 + 2));
  }
}

TEST_CASE("the number of threads shrinks when fewer are needed, and never exceeds the limit") {
  ThreadDemand demand(8);
  Consumer heavy{30, 1};
  heavy.take(demand, 40);
  CHECK(demand.threads() == 8);
  demand.limit(5);
  CHECK(demand.threads() == 5);
  heavy.take(demand, 40);
  CHECK(demand.threads() == 5);
  Consumer light{0.5, 1};
  light.take(demand, 100);
  CHECK(demand.threads() == 1);
  demand.add_batch(1.1, 0.1, 0.5);
  CHECK(demand.threads() == 2);
}

TEST_CASE("double_threads doubles the threads up to the limit") {
  ThreadDemand demand(6);
  for (const int threads : {2, 4, 6, 6}) {
    demand.double_threads();
    CHECK(demand.threads() == threads);
  }
}

TEST_CASE("reducing the threads too far is tried less and less often") {
  ThreadDemand demand(8);
  // The busy time of two threads suggests that one suffices, but with one the consumer waits.
  int waits = 0;
  for (int batch = 0; batch < 4000; ++batch) {
    const double wait = demand.threads() == 1 ? 0.1 : 0;
    waits += wait > 0 ? 1 : 0;
    demand.add_batch(1 + wait, wait, 0.6);
  }
  CHECK(waits < 40);
}

TEST_CASE("a loader whose threads cannot be started is an error; the next one works") {
  facet::MemoryDataset data({{"a", {"x", "y"}}});
  for (int i = 0; i < 5; ++i) data.add(facet::waves(8, 8), {i % 2});
  if (memory_can_be_limited) {
    const FewStacks few;
    CHECK(contains(error_of([&] { facet::Loader(data, {.size = 8, .threads = 2000}); }), refused));
  }
  facet::Loader loader(data, {.batch = 2, .size = 8, .threads = 2});
  loader.start_epoch(0);
  int batches = 0;
  while (loader.next()) ++batches;
  CHECK(batches == 3);
}

TEST_CASE("each index is visited once, on the requested number of threads") {
  for (const int threads : {0, 1, 3, 20}) {
    std::vector<std::atomic<int>> times(100);
    for_each_index(100, threads, [&](std::int64_t index) { ++times[static_cast<std::size_t>(index)]; });
    for (const auto& count : times) CHECK(count == 1);
  }
  for_each_index(0, 4, [](std::int64_t) { FAIL("there is no index"); });
  std::latch all(4);
  for_each_index(4, 4, [&](std::int64_t) { all.arrive_and_wait(); });
}

TEST_CASE("a loop whose threads cannot be started runs on the caller's thread") {
  if (!memory_can_be_limited) return;
  const FewStacks few;
  std::int64_t sum = 0;
  for_each_index(2000, 2000, [&](std::int64_t index) { sum += index; });
  CHECK(sum == 1999 * 1000);
}

TEST_CASE("an exception of the body ends the loop and is rethrown") {
  for (const int threads : {1, 4}) {
    std::atomic<int> calls = 0;
    CHECK_THROWS_WITH_AS(for_each_index(1'000'000'000, threads,
                                        [&](std::int64_t index) {
                                          ++calls;
                                          if (index >= 100) throw std::runtime_error("enough");
                                        }),
                         "enough", std::runtime_error);
    CHECK(calls < 1000);
  }
}
