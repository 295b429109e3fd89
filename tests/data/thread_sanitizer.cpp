// What the thread sanitizer must not take for races: oneTBB, which isn't built with it, synchronises unseen. The loader
// says itself where it relies on that (data/task_handoff.h) and is checked; plain parallel loops are not.
#if defined(__SANITIZE_THREAD__)
extern "C" const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() {
  return "race_top:/oneapi/tbb/\n"
         "race_top:/include/tbb/\n"
         "race:tbb::detail::d1::parallel_for\n"
         "race:oneapi/tbb/parallel_for.h\n";
}
#endif
