#pragma once

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace facet::data {

// That a task sees what was written before it was enqueued, and who waits for it what it wrote, is oneTBB's promise, but
// the thread sanitizer can't see it kept: the library isn't built with it. These two tell it. In other builds they do
// nothing.

/// Before a task that uses `object` is enqueued; at the task's end, for who waits for it.
inline void hand_over([[maybe_unused]] void* object) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(object);
#endif
}

/// At the start of the task; after waiting.
inline void take_over([[maybe_unused]] void* object) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(object);
#endif
}

}  // namespace facet::data
