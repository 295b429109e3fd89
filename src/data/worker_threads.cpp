#include "data/worker_threads.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "facet/error.h"
#include "facet/threads.h"

namespace facet::data {

namespace {

/// A barrier for new threads: all wait until the last one has entered the arena. If one can't, all end without working.
struct Gate {
  explicit Gate(int threads) : entered(threads) {}

  std::latch entered;
  std::atomic<bool> all_entered = true;
  std::promise<bool> opened;
  const std::shared_future<bool> open{opened.get_future()};
};

}  // namespace

WorkerThreads::WorkerThreads(int max_threads, std::function<void(int)> work)
    : work_(std::move(work)), arena_(std::max(max_threads, 1), static_cast<unsigned>(std::max(max_threads, 1))) {}

void WorkerThreads::start(int count) {
  if (count < 1) return;
  const std::size_t first = threads_.size();
  const std::size_t all = first + static_cast<std::size_t>(count);
  const auto gate = std::make_shared<Gate>(count);
  const auto run = [this, gate, open = gate->open](int number) {
    bool entered = false;
    try {
      leave_openmp_place();
      arena_.execute([&] {
        entered = true;
        gate->entered.count_down();
        if (open.get()) work_(number);
      });
    } catch (const std::exception&) {
      if (entered) throw;  // thrown by `work`, which must not throw
      gate->all_entered = false;
      gate->entered.count_down();
    }
  };
  const auto fail = [&](std::size_t thread, const std::string& reason) {
    gate->opened.set_value(false);
    join_from(first);
    throw Error(
        fmt::format("thread {} of {} that decode images cannot be started: {}; request fewer loader threads, or "
                    "raise the limits on processes and memory (ulimit -u, ulimit -v, the container's pids)",
                    thread, all, reason),
        ErrorCode::io);
  };
  try {
    arena_.initialize();
    threads_.reserve(all);
    while (threads_.size() < all) threads_.emplace_back(run, static_cast<int>(threads_.size()));
  } catch (const std::system_error& error) {
    fail(threads_.size() + 1, error.code().message());
  } catch (const std::exception&) {
    fail(threads_.size() + 1, "out of memory");
  }
  gate->entered.wait();
  if (!gate->all_entered) fail(threads_.size(), "out of memory");
  gate->opened.set_value(true);
}

WorkerThreads::~WorkerThreads() { join_from(0); }

void WorkerThreads::join_from(std::size_t first) {
  while (threads_.size() > first) {
    threads_.back().join();
    threads_.pop_back();
  }
}

void ThreadDemand::limit(int max_threads) {
  max_threads_ = std::max(max_threads, 1);
  if (threads_ > max_threads_) change(max_threads_);
}

void ThreadDemand::add_batch(double seconds, double waited, double busy) {
  constexpr double tolerated = 0.02;    // share of the time that the consumer may wait
  constexpr double utilisation = 0.7;   // of the remaining threads; the rest is a reserve for uneven batches
  constexpr int batches_to_settle = 2;  // after a change, before batches are decoded ahead again
  ++batches_;
  seconds_ += seconds;
  waited_ += waited;
  busy_ += busy;
  if (waited > tolerated * seconds) {
    if (threads_ == max_threads_ || batches_ < batches_to_settle) return;
    // The consumer itself needs seconds - waited for a batch; the threads needed seconds.
    const double needed = std::ceil(threads_ * seconds / std::max(seconds - waited, 1e-9));
    grow(static_cast<int>(std::clamp<double>(needed, threads_ + 1, std::min(2 * threads_, max_threads_))));
  } else if (threads_ > 1 && batches_ >= min_batches_ && waited_ <= tolerated * seconds_ &&
             busy_ < utilisation * (threads_ - 1) * seconds_) {
    is_shrunk_ = true;
    change(threads_ - 1);
  } else if (batches_ >= 2 * min_batches_) {
    change(threads_);  // forgets old measurements
  }
}

void ThreadDemand::double_threads() {
  if (threads_ < max_threads_) grow(std::min(2 * threads_, max_threads_));
}

void ThreadDemand::grow(int threads) {
  constexpr int max_patience = 1024;
  if (is_shrunk_) min_batches_ = std::min(2 * min_batches_, max_patience);
  is_shrunk_ = false;
  change(threads);
}

void ThreadDemand::change(int threads) {
  threads_ = threads;
  batches_ = 0;
  seconds_ = waited_ = busy_ = 0;
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
    others.emplace(helpers, [&](int) { work(); });
    others->start(helpers);
  } catch (const Error&) {
    // The caller works alone.
  }
  work();
  others.reset();
  if (first) std::rethrow_exception(first);
}

}  // namespace facet::data
