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
  /// Starts `count` threads, which call `work` once each.
  /// @param work throws nothing.
  /// @throws Error when the system refuses one of them; none has then called `work`, and all are joined.
  WorkerThreads(int count, std::function<void()> work);
  /// Joins them.
  ~WorkerThreads();
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;

 private:
  void join();

  std::function<void()> work_;
  tbb::task_arena arena_;
  std::vector<std::thread> threads_;
};

/// Calls body(index) for each index of [0, count) on `threads` threads, the caller among them; on the caller alone
/// where the system refuses the others. Calls begin in ascending order of their indices.
/// @throws the first exception that a body throws, after which no further call begins.
void for_each_index(std::int64_t count, int threads, const std::function<void(std::int64_t)>& body);

}  // namespace facet::data
