#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace facet::base {

/// Calls body(begin, end) on disjoint pieces of [0, count), on the threading runtime that the linked oneDNN uses. The
/// pieces depend only on count, grain and the number of threads. Allocates nothing. An exception that a body throws is
/// rethrown here once all pieces have ended.
/// @param grain pieces are multiples of it (except the last); a count of at most one grain runs on the calling thread.
void parallel_for(std::int64_t count, std::int64_t grain, const std::function<void(std::int64_t, std::int64_t)>& body);

/// While it lives, each parallel_for that this thread calls runs its pieces one after the other on this thread, and then
/// calls `observe` with the seconds that each took: so one can see how a number of threads would share the work, also
/// where there are fewer cores. A body must not call parallel_for, and a thread has one LoopTiming at a time.
class LoopTiming {
 public:
  /// @param seconds of the whole loop; more than the sum of its pieces by what measuring takes.
  using Observe = std::function<void(std::span<const double> piece_seconds, double seconds)>;

  explicit LoopTiming(Observe observe);
  ~LoopTiming();
  LoopTiming(const LoopTiming&) = delete;
  LoopTiming& operator=(const LoopTiming&) = delete;

 private:
  Observe observe_;
};

/// Threads that parallel_for and oneDNN use when called from this thread.
int current_threads();

/// While it lives, compute that this thread issues uses `threads` threads, all of which flush denormals to zero. Its
/// end restores the number of threads and the floating-point control of each thread: with OpenMP they are the host
/// program's workers, too. Scopes of one thread must end in the reverse order of their creation.
class ComputeScope {
 public:
  explicit ComputeScope(int threads);
  ~ComputeScope();
  ComputeScope(const ComputeScope&) = delete;
  ComputeScope& operator=(const ComputeScope&) = delete;

  /// Threads that compute gets. They are fewer than requested if OpenMP provides fewer (OMP_THREAD_LIMIT, or a parallel
  /// region of the host program around the caller). A primitive made for more threads would wait for them forever.
  int threads() const { return threads_; }

  /// While it lives, the state from before the scope is restored, so that functions of the host program can be called.
  class Suspension {
   public:
    explicit Suspension(ComputeScope& scope) : scope_(scope) { scope_.end(); }
    ~Suspension() { scope_.begin(); }
    Suspension(const Suspension&) = delete;
    Suspension& operator=(const Suspension&) = delete;

   private:
    ComputeScope& scope_;
  };

 private:
  struct Limit;  // limits oneTBB's threads, where that is the runtime
  void begin();
  void end();

  int threads_;
  int threads_before_ = 0;
  unsigned control_before_ = 0;
  bool is_dynamic_before_ = false;         // with OpenMP: whether it may provide fewer threads than requested
  bool is_outermost_ = true;               // with OpenMP: whether no other scope was open on the thread
  std::vector<unsigned> controls_before_;  // with OpenMP: for each thread of the scope's team
  std::shared_ptr<Limit> limit_;
};

}  // namespace facet::base
