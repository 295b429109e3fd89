#include "base/parallel.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <limits>
#include <mutex>
#include <numeric>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#if defined(FACET_THREADING_OPENMP)
#include <omp.h>
#endif
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

using facet::base::ComputeScope;
using facet::base::current_threads;
using facet::base::parallel_for;

namespace {

using Pieces = std::vector<std::pair<std::int64_t, std::int64_t>>;

Pieces pieces_of(std::int64_t count, std::int64_t grain) {
  std::mutex mutex;
  Pieces pieces;
  parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
    const std::lock_guard lock(mutex);
    pieces.emplace_back(begin, end);
  });
  std::sort(pieces.begin(), pieces.end());
  return pieces;
}

/// Returns half the smallest normal number; 0 if denormals are flushed.
float halved_smallest() {
  volatile float smallest = std::numeric_limits<float>::min();
  return smallest * 0.5F;
}

}  // namespace

TEST_CASE("pieces cover the range once, in whole grains, and are the same each time") {
  for (const int threads : {1, 2, 3, 8}) {
    const ComputeScope scope(threads);
    CHECK(current_threads() == threads);
    for (const std::int64_t count : {0, 1, 7, 16, 17, 100, 1000}) {
      for (const std::int64_t grain : {0, 1, 3, 16, 2000}) {
        CAPTURE(threads);
        CAPTURE(count);
        CAPTURE(grain);
        const Pieces pieces = pieces_of(count, grain);
        CHECK(pieces.size() <= static_cast<std::size_t>(threads));
        std::int64_t at = 0;
        for (const auto& [begin, end] : pieces) {
          CHECK(begin == at);
          CHECK(end > begin);
          CHECK((end == count || (end - begin) % std::max<std::int64_t>(grain, 1) == 0));
          at = end;
        }
        CHECK(at == count);
        CHECK(pieces_of(count, grain) == pieces);
      }
    }
  }
}

TEST_CASE("nested scopes have their own numbers of threads") {
  const ComputeScope outer(2);
  CHECK(current_threads() == 2);
  CHECK(pieces_of(100, 1).size() <= 2);
  {
    const ComputeScope inner(1);
    CHECK(current_threads() == 1);
  }
  CHECK(current_threads() == 2);
}

TEST_CASE("a scope's number of threads doesn't depend on the scopes of other threads") {
  const ComputeScope scope(5);
  std::promise<void> opened, checked;
  std::thread other([&] {
    const ComputeScope narrow(1);
    opened.set_value();
    checked.get_future().wait();
  });
  opened.get_future().wait();
  CHECK(current_threads() == 5);
  CHECK(pieces_of(100, 1).size() == 5);
  checked.set_value();
  other.join();
}

TEST_CASE("the pieces differ by at most one grain") {
  const ComputeScope scope(4);
  CHECK(pieces_of(10, 1) == Pieces{{0, 3}, {3, 6}, {6, 8}, {8, 10}});
  CHECK(pieces_of(10, 4) == Pieces{{0, 4}, {4, 8}, {8, 10}});
  constexpr std::int64_t max_count = std::numeric_limits<std::int64_t>::max();
  CHECK(pieces_of(max_count, max_count - 1).size() == 2);
}

TEST_CASE("timed loops run the same pieces in their order, on the caller, and tell the seconds of each") {
  const ComputeScope scope(4);
  Pieces pieces;
  std::vector<std::vector<double>> loops;
  const auto run = [&](std::int64_t count, std::int64_t grain) {
    const std::thread::id caller = std::this_thread::get_id();
    parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
      CHECK(std::this_thread::get_id() == caller);
      pieces.emplace_back(begin, end);
      if (begin == 3) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    });
  };
  {
    const facet::base::LoopTiming timing([&](std::span<const double> seconds, double all) {
      loops.emplace_back(seconds.begin(), seconds.end());
      CHECK(all >= std::accumulate(seconds.begin(), seconds.end(), 0.0) * 0.999);
    });
    run(10, 1);
    run(0, 1);  // no loop
    run(7, 8);
  }
  CHECK(pieces == Pieces{{0, 3}, {3, 6}, {6, 8}, {8, 10}, {0, 7}});
  REQUIRE(loops.size() == 2);
  CHECK(loops[0].size() == 4);
  CHECK(loops[0][1] >= 0.005);
  CHECK(loops[1].size() == 1);
  CHECK(pieces_of(10, 1) == Pieces{{0, 3}, {3, 6}, {6, 8}, {8, 10}});
  CHECK(loops.size() == 2);
}

TEST_CASE("a nested loop covers every index") {
  const ComputeScope scope(3);
  std::atomic<int> visits = 0;
  parallel_for(6, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      parallel_for(5, 1, [&](std::int64_t from, std::int64_t to) { visits += static_cast<int>(to - from); });
    }
  });
  CHECK(visits == 30);
}

TEST_CASE("an exception of a piece is rethrown on the caller") {
  const ComputeScope scope(2);
  for (const std::int64_t bad : {0, 99}) {
    const auto body = [&](std::int64_t begin, std::int64_t end) {
      if (begin <= bad && bad < end) {
        throw std::runtime_error("bad");
      }
    };
    CHECK_THROWS_WITH_AS(parallel_for(100, 1, body), "bad", std::runtime_error);
  }
}

TEST_CASE("a scope flushes denormals on every thread, and restores the caller's state") {
  const int threads_before = current_threads();
  REQUIRE(halved_smallest() > 0.0F);
#if defined(__SSE2__)
  for (const int threads : {2, 4}) {
    const ComputeScope scope(threads);
    CHECK(current_threads() == threads);
    std::vector<float> halves(static_cast<std::size_t>(threads), 1.0F);
    std::vector<float> doubled(halves);
    parallel_for(threads, 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        volatile float denormal = std::numeric_limits<float>::denorm_min();
        halves[i] = halved_smallest();
        doubled[i] = denormal * 0x1p100F;
      }
    });
    CHECK(std::count(halves.begin(), halves.end(), 0.0F) == threads);
    CHECK(std::count(doubled.begin(), doubled.end(), 0.0F) == threads);
  }
#endif
  CHECK(halved_smallest() > 0.0F);
  CHECK(current_threads() == threads_before);
}

#if defined(FACET_THREADING_OPENMP) && defined(__SSE2__)

namespace {

constexpr unsigned flush_bits = 0x8040;  // flush to zero, denormals are zero

/// The control words and IDs of the threads of a team that the test itself starts.
struct Team {
  std::vector<unsigned> controls;
  std::vector<std::thread::id> ids;
};

Team inspect_workers(int threads) {
  Team team{std::vector<unsigned>(static_cast<std::size_t>(threads)),
            std::vector<std::thread::id>(static_cast<std::size_t>(threads))};
#pragma omp parallel num_threads(threads)
  {
    const auto thread = static_cast<std::size_t>(omp_get_thread_num());
    team.controls[thread] = _mm_getcsr();
    team.ids[thread] = std::this_thread::get_id();
  }
  return team;
}

}  // namespace

TEST_CASE("a scope restores the floating-point control of the host program's OpenMP workers") {
  const Team before = inspect_workers(4);
  for (const unsigned control : before.controls) REQUIRE((control & flush_bits) == 0);
  for (const int threads : {2, 4}) {
    CAPTURE(threads);
    {
      const ComputeScope scope(threads);
      const Team within = inspect_workers(threads);
      for (const unsigned control : within.controls) CHECK((control & flush_bits) == flush_bits);
    }
    const Team after = inspect_workers(threads);
    CHECK(after.ids[1] == before.ids[1]);  // the worker that the scope used
    CHECK(std::equal(after.controls.begin(), after.controls.end(), before.controls.begin()));
  }
}

TEST_CASE("a scope restores a different floating-point control for each worker") {
  inspect_workers(3);
#pragma omp parallel num_threads(3)
  if (omp_get_thread_num() == 2) _mm_setcsr(_mm_getcsr() | 0x8000U);
  const Team before = inspect_workers(3);
  { const ComputeScope scope(3); }
  CHECK(inspect_workers(3).controls == before.controls);
#pragma omp parallel num_threads(3)
  _mm_setcsr(_mm_getcsr() & ~flush_bits);
}

TEST_CASE("after a nested scope with more threads, no worker flushes denormals") {
  {
    const ComputeScope outer(2);
    {
      const ComputeScope inner(5);
      for (const unsigned control : inspect_workers(5).controls) CHECK((control & flush_bits) == flush_bits);
    }
    CHECK(halved_smallest() == 0.0F);
    for (const unsigned control : inspect_workers(2).controls) CHECK((control & flush_bits) == flush_bits);
  }
  CHECK(halved_smallest() > 0.0F);
  for (const unsigned control : inspect_workers(5).controls) CHECK((control & flush_bits) == 0);
}

#endif

#if defined(FACET_THREADING_OPENMP)

TEST_CASE("within a parallel region of the host program, OpenMP provides one thread to a scope") {
  int provided = 0, visits = 0;
#pragma omp parallel num_threads(2)
  {
#pragma omp master
    {
      const ComputeScope scope(2);
      provided = scope.threads();
      parallel_for(8, 1, [&](std::int64_t begin, std::int64_t end) { visits += static_cast<int>(end - begin); });
      CHECK(current_threads() == provided);
    }
  }
  CHECK(provided == 1);
  CHECK(visits == 8);
  CHECK(ComputeScope(2).threads() == 2);
}

TEST_CASE("a scope disables OpenMP's dynamic number of threads and restores the host program's setting") {
  omp_set_dynamic(1);
  {
    ComputeScope scope(2);
    CHECK(omp_get_dynamic() == 0);
    const ComputeScope::Suspension outside(scope);
    CHECK(omp_get_dynamic() == 1);
  }
  CHECK(omp_get_dynamic() == 1);
  omp_set_dynamic(0);
}

#endif

TEST_CASE("a suspended scope restores the caller's state") {
  const int threads_before = current_threads();
  ComputeScope scope(threads_before + 1);
  {
    const ComputeScope::Suspension outside(scope);
    CHECK(halved_smallest() > 0.0F);
    CHECK(current_threads() == threads_before);
  }
  CHECK(current_threads() == threads_before + 1);
#if defined(__SSE2__)
  CHECK(halved_smallest() == 0.0F);
#endif
}
