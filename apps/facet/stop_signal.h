#pragma once

#include <chrono>
#include <csignal>
#include <map>
#include <vector>

namespace facet::app {

/// While it lives, signals that ask the program to stop are answered by a line on standard error: SIGINT, SIGTERM,
/// SIGHUP (unless it was ignored before, as nohup does) and SIGUSR1. Until steps begin there is nothing to save: the
/// process ends at once. From then on the first signal is noted, for the caller to finish its step and save. Another
/// one ends the process at once, if it comes a second or more after the first: `timeout`, process groups and
/// supervisors send two. SIGUSR1 never does that. One object at a time.
///
/// Where no step ends within max(10 s, 5 median steps) after the signal, the process gives up and exits with status 1.
/// Where it does not end within that time after it has saved, because a thread hangs in a read of an image for example,
/// it is ended, with the exit status of a run that was stopped.
class StopSignal {
 public:
  static constexpr int interrupted = 130;  ///< exit status after SIGINT, as a shell has it
  static constexpr int requeue = 75;       ///< after the others: saved, run it again (EX_TEMPFAIL of sysexits.h)

  StopSignal();
  /// Puts the former handlers back.
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  void begin_steps();
  /// To be called whenever a step has ended.
  void step_ended();
  /// Told before and after checkpoints are written: such time is no time without a step.
  void saving(bool begins);
  bool came() const;
  /// Of a process that the signal has stopped: `interrupted` or `requeue`.
  int exit_status() const;

 private:
  std::map<int, struct sigaction> before_;  ///< by signal
  std::chrono::steady_clock::time_point last_step_;
  std::vector<double> seconds_;  ///< of the newest steps, as a ring
  std::size_t steps_ = 0;
  mutable bool answered_ = false;  ///< the caller knows of the signal: what it saves then may take its time
};

}  // namespace facet::app
