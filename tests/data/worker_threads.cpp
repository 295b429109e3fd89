#include "data/worker_threads.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <atomic>
#include <fstream>
#include <latch>
#include <stdexcept>

#include "data/make_jpeg.h"
#include "facet/data.h"

using facet::contains;
using facet::error_of;
using facet::data::for_each_index;
using facet::data::WorkerThreads;

namespace {

constexpr const char* refused =
    " that decode images cannot be started: Resource temporarily unavailable; ask for fewer";

/// While it lives, this process gets no memory for the stacks of many threads.
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

/// Sanitizers need address space of their own.
constexpr bool memory_can_be_limited =
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    false;
#else
    true;
#endif

}  // namespace

TEST_CASE("all threads work at once, and are joined") {
  for (const int count : {0, 1, 2, 50}) {
    std::latch all(count);
    std::atomic<int> done = 0;
    {
      const WorkerThreads threads(count, [&] {
        all.arrive_and_wait();
        ++done;
      });
    }
    CHECK(done == count);
  }
}

TEST_CASE("a thread that cannot be started is an error, and none has worked") {
  if (!memory_can_be_limited) return;
  std::atomic<int> worked = 0;
  for (int again = 0; again < 3; ++again) {
    const FewStacks few;
    const std::string error = error_of([&] { WorkerThreads threads(2000, [&] { ++worked; }); });
    CAPTURE(error);
    CHECK(contains(error, " of 2000"));
    CHECK(contains(error, refused));
    CHECK(!contains(error, "\n"));
  }
  CHECK(worked == 0);
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

TEST_CASE("each index comes once, on as many threads as are asked for") {
  for (const int threads : {0, 1, 3, 20}) {
    std::vector<std::atomic<int>> times(100);
    for_each_index(100, threads, [&](std::int64_t index) { ++times[static_cast<std::size_t>(index)]; });
    for (const auto& count : times) CHECK(count == 1);
  }
  for_each_index(0, 4, [](std::int64_t) { FAIL("there is no index"); });
  std::latch all(4);
  for_each_index(4, 4, [&](std::int64_t) { all.arrive_and_wait(); });
}

TEST_CASE("a loop whose threads cannot be started runs on its caller") {
  if (!memory_can_be_limited) return;
  const FewStacks few;
  std::int64_t sum = 0;
  for_each_index(2000, 2000, [&](std::int64_t index) { sum += index; });
  CHECK(sum == 1999 * 1000);
}

TEST_CASE("what a body throws ends the loop and is thrown again") {
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
