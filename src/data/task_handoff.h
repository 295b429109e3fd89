#pragma once

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace facet::data {

// That a task sees what was written before it was enqueued is oneTBB's promise, but the thread sanitizer can't see it
// kept: the library isn't built with it. These two tell it. In other builds they do nothing.

/// Before a task that uses `object` is enqueued.
inline void hand_over([[maybe_unused]] void* object) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(object);
#endif
}

/// At the start of the task.
inline void take_over([[maybe_unused]] void* object) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(object);
#endif
}

}  // namespace facet::data
