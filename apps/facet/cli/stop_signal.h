#pragma once

#include <chrono>
#include <csignal>
#include <map>
#include <vector>

#include "facet/process_group.h"

namespace facet::app {

/// While this object lives, it handles the signals that ask the program to stop: SIGINT, SIGTERM, SIGHUP (unless it was
/// ignored before, as nohup does) and SIGUSR1. Each prints a line to standard error, of several ranks rank 0. Before
/// steps begin there is nothing to save, and a signal ends the process at once. After that, the first signal is noted,
/// so that the caller can finish its step and save. A further signal ends the process at once if it comes a second or
/// more after the first, since `timeout`, process groups and supervisors send two signals; a further SIGUSR1 never
/// does. Only one object may exist at a time.
///
/// Where no step ends within max(10 s, 5 median steps) after the signal, or the process doesn't end within that time
/// after it has saved, for example because a thread hangs while it reads an image, it prints a line and exits with the
/// status of a run that was stopped: the last checkpoint is whole.
class StopSignal {
 public:
  static constexpr int interrupted = 130;  ///< exit status after SIGINT, as in a shell
  static constexpr int requeue = 75;       ///< after other signals: saved, run it again (EX_TEMPFAIL in sysexits.h)

  /// @param ranks the processes that train together; each has an object of its own.
  explicit StopSignal(const ProcessGroup& ranks = {});
  /// Restores the former handlers, unless a signal has come: the process is about to end then, and a repeated signal is
  /// handled as before until it has.
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// Call this when the first step begins.
  void begin_steps();
  /// Call this whenever a step has ended.
  void step_ended();
  /// Call this before (true) and after (false) checkpoints are written, so that saving doesn't count as waiting for a
  /// step.
  void saving(bool begins);
  /// Whether a signal has come. After true is returned, the caller may take as long as it needs to save.
  bool came() const;
  /// The exit status of processes that a signal to one of them has stopped: `interrupted` if SIGINT has come to one,
  /// else `requeue`. All ranks call it.
  int exit_status() const;

 private:
  ProcessGroup ranks_;
  std::map<int, struct sigaction> before_;  ///< former actions by signal
  std::chrono::steady_clock::time_point last_step_;
  std::vector<double> seconds_;  ///< durations of the newest steps, as a ring buffer
  std::size_t steps_ = 0;
  mutable bool answered_ = false;  ///< came() has returned true: saving that ends afterwards completes the stop
};

}  // namespace facet::app
