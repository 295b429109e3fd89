#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace facet::base {

/// Calls body(begin, end) on disjoint pieces of [0, count), on the threading runtime that the linked oneDNN uses. The
/// split depends on count, grain and the number of threads alone: same threads, same pieces.
/// Allocates nothing. An exception that a body throws is thrown again here, once all pieces have ended.
/// @param grain pieces are multiples of it (but the last); a count of at most one grain runs on the caller.
void parallel_for(std::int64_t count, std::int64_t grain, const std::function<void(std::int64_t, std::int64_t)>& body);

/// Threads that parallel_for and oneDNN use when called from this thread.
int compute_threads();

/// While it lives, compute issued by this thread uses `threads` threads and flushes denormals to zero, on all of them.
/// Its end restores the number of threads, and the floating-point control of every one of them: with OpenMP they are
/// the host program's workers too. Scopes of one thread end in the reverse order of their beginning.
class ComputeScope {
 public:
  explicit ComputeScope(int threads);
  ~ComputeScope();
  ComputeScope(const ComputeScope&) = delete;
  ComputeScope& operator=(const ComputeScope&) = delete;

  /// Threads that compute gets: fewer than were asked for where OpenMP provides fewer (OMP_THREAD_LIMIT, or a parallel
  /// region of the host program around the caller). A primitive that is made for more would wait for them forever.
  int threads() const { return threads_; }

  /// While it lives, all is as it was before the scope: for calls of the host program's functions.
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
  struct Limit;  // of oneTBB's threads, where that is the runtime
  void begin();
  void end();

  int threads_;
  int threads_before_ = 0;
  unsigned control_before_ = 0;
  bool is_dynamic_before_ = false;         // with OpenMP: whether it may provide fewer threads than asked for
  bool is_outermost_ = true;               // with OpenMP: of the scopes that are open on the thread
  std::vector<unsigned> controls_before_;  // with OpenMP: by thread of the scope's team
  std::shared_ptr<Limit> limit_;
};

}  // namespace facet::base
