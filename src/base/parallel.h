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
  /// @param others threads of other oneTBB arenas that work meanwhile (a loader's). Where oneTBB is also the runtime of
  ///   compute, its workers are limited, over all arenas, to both together; of scopes within each other the most count.
  explicit ComputeScope(int threads, int others = 0);
  ~ComputeScope();
  ComputeScope(const ComputeScope&) = delete;
  ComputeScope& operator=(const ComputeScope&) = delete;

 private:
  struct Limit;  // of oneTBB's threads, where that is the runtime

  int threads_before_;
  int others_before_ = 0;
  unsigned control_before_;
  bool is_outermost_ = true;               // with OpenMP: of the scopes that are open on the thread
  std::vector<unsigned> controls_before_;  // with OpenMP: by thread of the scope's team
  std::shared_ptr<Limit> limit_;
};

}  // namespace facet::base
