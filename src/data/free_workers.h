#pragma once

#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_scheduler_observer.h>

#include <utility>

#include "base/cpus.h"

namespace facet::data {

/// While it lives, an arena's workers, such as those of the loader, run on all CPUs that the process may use: they
/// leave OpenMP's place, once each. A thread begins with the affinity mask of the one that starts it, and OpenMP may
/// have bound that one to a core, which it then computes on.
class FreeWorkers : public tbb::task_scheduler_observer {
 public:
  explicit FreeWorkers(tbb::task_arena& arena) : tbb::task_scheduler_observer(arena) { observe(true); }
  ~FreeWorkers() override { observe(false); }

  void on_scheduler_entry(bool is_worker) override {
    thread_local bool has_left = false;
    if (is_worker && !std::exchange(has_left, true)) base::leave_openmp_place();
  }
};

}  // namespace facet::data
