#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>

#if defined(FACET_THREADING_OPENMP)
#include <omp.h>
#elif defined(FACET_THREADING_TBB)
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#else
#error "FACET_THREADING_OPENMP or FACET_THREADING_TBB must be defined: see cmake/threading.cmake"
#endif

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace facet::base {
namespace {

using Body = std::function<void(std::int64_t, std::int64_t)>;

/// The floating-point control word of the calling thread; 0 on CPUs without SSE2.
unsigned control() {
#if defined(__SSE2__)
  return _mm_getcsr();
#else
  return 0;
#endif
}

void set_control([[maybe_unused]] unsigned value) {
#if defined(__SSE2__)
  _mm_setcsr(value);
#endif
}

void flush_denormals() {
  constexpr unsigned flush_to_zero = 0x8000;
  constexpr unsigned denormals_are_zero = 0x0040;
  set_control(control() | flush_to_zero | denormals_are_zero);
}

/// Splits [0, count) into `pieces` pieces of whole grains, as evenly as possible; the last piece ends at count.
struct Split {
  std::int64_t count;
  std::int64_t grains;
  std::int64_t grain;
  std::int64_t pieces;

  std::int64_t start(std::int64_t piece) const {
    const std::int64_t each = grains / pieces;
    const std::int64_t more = grains % pieces;  // the first `more` pieces have one more grain
    return piece == pieces ? count : (piece * each + std::min(piece, more)) * grain;
  }
};

/// Keeps the first exception that a piece throws and rethrows it on the caller: none may escape from a runtime's
/// thread.
class FirstException {
 public:
  void keep() noexcept {
    if (!taken_.test_and_set()) {
      exception_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (exception_) {
      std::rethrow_exception(exception_);
    }
  }

 private:
  std::atomic_flag taken_ = ATOMIC_FLAG_INIT;
  std::exception_ptr exception_;
};

#if defined(FACET_THREADING_OPENMP)

void run(const Split& split, const Body& body) {
  FirstException first;
  // The team always has its full size: libgomp ends and restarts threads when the size changes.
#pragma omp parallel for schedule(static, 1)
  for (std::int64_t piece = 0; piece < split.pieces; ++piece) {
    try {
      body(split.start(piece), split.start(piece + 1));
    } catch (...) {
      first.keep();
    }
  }
  first.rethrow();
}

#else

void run(const Split& split, const Body& body) {
  // The context is isolated so that the workers use this thread's floating-point control, not the one that was captured
  // when the arena was created.
  tbb::task_group_context context(tbb::task_group_context::isolated);
  context.capture_fp_settings();
  tbb::parallel_for(
      tbb::blocked_range<std::int64_t>(0, split.pieces, 1),
      [&](const tbb::blocked_range<std::int64_t>& pieces) {
        for (std::int64_t piece = pieces.begin(); piece < pieces.end(); ++piece) {
          body(split.start(piece), split.start(piece + 1));
        }
      },
      tbb::static_partitioner(), context);
}

#endif

/// Receives the times of this thread's loops; null: they run in parallel.
thread_local const LoopTiming::Observe* observe_loop = nullptr;

void run_timed(const Split& split, const Body& body) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  std::vector<double> seconds(static_cast<std::size_t>(split.pieces));
  Clock::time_point start = begin;
  for (std::int64_t piece = 0; piece < split.pieces; ++piece) {
    body(split.start(piece), split.start(piece + 1));
    const Clock::time_point end = Clock::now();
    seconds[static_cast<std::size_t>(piece)] = std::chrono::duration<double>(end - start).count();
    start = end;
  }
  (*observe_loop)(seconds, std::chrono::duration<double>(start - begin).count());
}

}  // namespace

LoopTiming::LoopTiming(Observe observe) : observe_(std::move(observe)) { observe_loop = &observe_; }
LoopTiming::~LoopTiming() { observe_loop = nullptr; }

void parallel_for(std::int64_t count, std::int64_t grain, const Body& body) {
  if (count <= 0) {
    return;
  }
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t grains = count / grain + (count % grain != 0 ? 1 : 0);
  const std::int64_t pieces = std::min<std::int64_t>(grains, current_threads());
  if (observe_loop != nullptr) {
    run_timed({count, grains, grain, pieces}, body);
  } else if (pieces <= 1) {
    body(0, count);
  } else {
    run({count, grains, grain, pieces}, body);
  }
}

#if defined(FACET_THREADING_OPENMP)

int current_threads() { return omp_get_max_threads(); }

namespace {

/// The calling thread's floating-point control before its outermost open scope.
thread_local std::optional<unsigned> host_control;

}  // namespace

void ComputeScope::begin() {
  threads_before_ = omp_get_max_threads();
  is_dynamic_before_ = omp_get_dynamic() != 0;
  control_before_ = control();
  is_outermost_ = !host_control.has_value();
  if (is_outermost_) host_control = control_before_;
  controls_before_.assign(static_cast<std::size_t>(threads_), *host_control);
  omp_set_dynamic(0);
  omp_set_num_threads(threads_);
  // Workers that the region starts inherit the caller's control: they shall start with the host's, not an outer
  // scope's.
  set_control(*host_control);
#pragma omp parallel
  {
    const auto thread = static_cast<std::size_t>(omp_get_thread_num());
    if (thread == 0) threads_ = omp_get_num_threads();
    if (thread > 0) controls_before_[thread] = control();
    flush_denormals();
  }
  controls_before_.resize(static_cast<std::size_t>(threads_));
  omp_set_num_threads(threads_);
}

void ComputeScope::end() {
  omp_set_num_threads(threads_);
#pragma omp parallel
  set_control(controls_before_[static_cast<std::size_t>(omp_get_thread_num())]);
  set_control(control_before_);
  omp_set_num_threads(threads_before_);
  omp_set_dynamic(is_dynamic_before_ ? 1 : 0);
  if (is_outermost_) host_control.reset();
}

#else

struct ComputeScope::Limit : tbb::global_control {
  explicit Limit(int threads) : global_control(max_allowed_parallelism, static_cast<std::size_t>(threads)) {}
};

namespace {

/// Threads that the open scope of this thread requests; 0 if none is open.
thread_local int requested_threads = 0;

}  // namespace

int current_threads() {
  if (requested_threads > 0) return requested_threads;  // regardless of the limits that other threads' scopes set
  const auto allowed = tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism);
  return std::min(tbb::this_task_arena::max_concurrency(), static_cast<int>(allowed));
}

// oneDNN's own tasks flush denormals only if the scope is opened before this thread's first TBB task: an arena keeps
// the floating-point control with which it was created.
void ComputeScope::begin() {
  threads_before_ = std::exchange(requested_threads, threads_);
  control_before_ = control();
  flush_denormals();
  limit_ = std::make_shared<Limit>(threads_);
}

void ComputeScope::end() {
  limit_.reset();
  requested_threads = threads_before_;
  set_control(control_before_);
}

#endif

ComputeScope::ComputeScope(int threads) : threads_(std::max(threads, 1)) { begin(); }
ComputeScope::~ComputeScope() { end(); }

}  // namespace facet::base
