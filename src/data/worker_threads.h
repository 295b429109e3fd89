#pragma once

#include <oneapi/tbb/task_arena.h>

#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace facet::data {

/// Threads that decode or encode images beside the caller's. They work within one oneTBB arena that has a place for
/// each of them and for nobody else, so that a data set which is itself parallel with oneTBB takes no further threads.
/// They are started here and not by oneTBB, which cannot start workers reliably: it tells neither that one is missing
/// nor how many there are. They run on all CPUs that the process may use, even where OpenMP has bound the caller to
/// one.
class WorkerThreads {
 public:
  /// Starts none yet.
  /// @param max_threads that can be started, in all.
  /// @param work what each thread calls once, with its number from 0. Throws nothing.
  WorkerThreads(int max_threads, std::function<void(int)> work);
  /// Joins them.
  ~WorkerThreads();
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;

  /// Starts `count` more.
  /// @throws Error when the system refuses one of them: none of these has then called `work`, and they are joined.
  void start(int count);
  /// Threads that can be started, in all.
  int max_threads() const { return arena_.max_concurrency(); }
  /// Threads that were started.
  int count() const { return static_cast<int>(threads_.size()); }

 private:
  void join_from(std::size_t first);

  std::function<void(int)> work_;
  tbb::task_arena arena_;
  std::vector<std::thread> threads_;
};

/// How many threads a consumer of batches needs: more while it waits for batches, fewer when the others could do it
/// alone.
class ThreadDemand {
 public:
  /// @param max_threads that may be asked for, at least one.
  explicit ThreadDemand(int max_threads) : max_threads_(max_threads) {}

  int threads() const { return threads_; }
  /// The system grants no more than this.
  void limit(int max_threads);
  /// Takes one batch into account.
  /// @param seconds from the batch before to this one, the waiting included.
  /// @param waited of these, seconds in which the consumer waited for this batch.
  /// @param busy seconds that the threads spent on images meanwhile, in sum.
  void add_batch(double seconds, double waited, double busy);
  /// The consumer has waited for one batch for so long that twice as many threads are to work on it.
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

  int min_batches_ = 16;    // that must have gone well before there are fewer threads
  bool is_shrunk_ = false;  // the last change left fewer threads
};

/// Calls body(index) for each index of [0, count) on `threads` threads, the caller among them; on the caller alone
/// where the system refuses the others. Calls begin in ascending order of their indices.
/// @throws the first exception that a body throws, after which no further call begins.
void for_each_index(std::int64_t count, int threads, const std::function<void(std::int64_t)>& body);

}  // namespace facet::data
