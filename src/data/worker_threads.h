#pragma once

#include <oneapi/tbb/task_arena.h>

#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace facet::data {

/// Threads that decode or encode images beside the caller's thread. They work within one oneTBB arena that has exactly
/// one slot for each of them, so that a data set which itself uses oneTBB takes no further threads. This class starts
/// the threads, because oneTBB doesn't start workers reliably: it reports neither a missing worker nor how many there
/// are. The threads run on all CPUs that the process may use, even if OpenMP has bound the caller to one.
class WorkerThreads {
 public:
  /// Starts no thread yet.
  /// @param max_threads the maximum number of threads.
  /// @param work a function that each thread calls once, with its number, counted from 0; must not throw.
  WorkerThreads(int max_threads, std::function<void(int)> work);
  /// Joins the threads.
  ~WorkerThreads();
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;

  /// Starts `count` more threads.
  /// @throws Error when the system refuses one of them: none of the new ones has called `work`, and they are joined.
  void start(int count);
  /// The maximum number of threads.
  int max_threads() const { return arena_.max_concurrency(); }
  /// The number of threads that were started.
  int count() const { return static_cast<int>(threads_.size()); }

 private:
  void join_from(std::size_t first);

  std::function<void(int)> work_;
  tbb::task_arena arena_;
  std::vector<std::thread> threads_;
};

/// Estimates how many threads a consumer of batches needs: more while it waits for batches, fewer when fewer would
/// suffice.
class ThreadDemand {
 public:
  /// @param max_threads the maximum number of threads, at least 1.
  explicit ThreadDemand(int max_threads) : max_threads_(max_threads) {}

  int threads() const { return threads_; }
  /// Sets the maximum to the number of threads that the system grants.
  void limit(int max_threads);
  /// Takes one batch into account.
  /// @param seconds time from the previous batch to this one, including waiting.
  /// @param waited the part of `seconds` in which the consumer waited for this batch.
  /// @param busy seconds that all threads together spent on images in this time.
  void add_batch(double seconds, double waited, double busy);
  /// Doubles the threads, up to the maximum, when the consumer has waited too long for one batch.
  void double_threads();

 private:
  void grow(int threads);
  void change(int threads);

  int max_threads_;
  int threads_ = 1;
  // Since the last change:
  int batches_ = 0;
  double seconds_ = 0;
  double waited_ = 0;
  double busy_ = 0;

  int min_batches_ = 16;    // batches without waiting before the number of threads is reduced
  bool is_shrunk_ = false;  // the last change reduced the number of threads
};

/// Calls body(index) for each index of [0, count) on `threads` threads, including the caller's; on the caller's
/// alone if the system refuses the others. Calls begin in ascending order of their indices.
/// @throws the first exception that a body throws, after which no further call begins.
void for_each_index(std::int64_t count, int threads, const std::function<void(std::int64_t)>& body);

}  // namespace facet::data
