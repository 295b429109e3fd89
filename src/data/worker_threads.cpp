#include "data/worker_threads.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "base/cpus.h"
#include "facet/error.h"

namespace facet::data {

namespace {

/// Where all threads wait until the last one is in the arena: where one can't be, the others end without having worked.
struct Gate {
  explicit Gate(int threads) : entered(threads) {}

  std::latch entered;
  std::atomic<bool> all_entered = true;
  std::promise<bool> opened;
  const std::shared_future<bool> open{opened.get_future()};
};

}  // namespace

WorkerThreads::WorkerThreads(int count, std::function<void()> work)
    : work_(std::move(work)), arena_(std::max(count, 1), static_cast<unsigned>(std::max(count, 1))) {
  if (count < 1) return;
  const auto gate = std::make_shared<Gate>(count);
  const auto run = [this, gate, open = gate->open] {
    bool is_in = false;
    try {
      base::leave_openmp_place();
      arena_.execute([&] {
        is_in = true;
        gate->entered.count_down();
        if (open.get()) work_();
      });
    } catch (const std::exception&) {
      if (is_in) throw;  // of `work`, against its promise
      gate->all_entered = false;
      gate->entered.count_down();
    }
  };
  const auto fail = [&](std::size_t thread, const std::string& reason) {
    gate->opened.set_value(false);
    join();
    throw Error(
        fmt::format("thread {} of {} that decode images cannot be started: {}; ask for fewer loader threads, or "
                    "raise the limits on processes and memory (ulimit -u, ulimit -v, the container's pids)",
                    thread, count, reason));
  };
  try {
    arena_.initialize();
    threads_.reserve(static_cast<std::size_t>(count));
    while (threads_.size() < static_cast<std::size_t>(count)) threads_.emplace_back(run);
  } catch (const std::system_error& error) {
    fail(threads_.size() + 1, error.code().message());
  } catch (const std::exception&) {
    fail(threads_.size() + 1, "out of memory");
  }
  gate->entered.wait();
  if (!gate->all_entered) fail(threads_.size(), "out of memory");
  gate->opened.set_value(true);
}

WorkerThreads::~WorkerThreads() { join(); }

void WorkerThreads::join() {
  for (std::thread& thread : threads_) thread.join();
}

void for_each_index(std::int64_t count, int threads, const std::function<void(std::int64_t)>& body) {
  std::atomic<std::int64_t> next = 0;
  std::mutex mutex;
  std::exception_ptr first;
  const auto work = [&] {
    for (std::int64_t index = next++; index < count; index = next++) {
      try {
        body(index);
      } catch (...) {
        next = count;
        const std::lock_guard lock(mutex);
        if (!first) first = std::current_exception();
      }
    }
  };
  const auto helpers = static_cast<int>(std::clamp<std::int64_t>(count, 1, std::max(threads, 1))) - 1;
  std::optional<WorkerThreads> others;
  try {
    others.emplace(helpers, work);
  } catch (const Error&) {
    // The caller can do it alone.
  }
  work();
  others.reset();
  if (first) std::rethrow_exception(first);
}

}  // namespace facet::data
