#pragma once

#include <csignal>
#include <string>
#include <vector>

namespace facet::app {

/// While this object lives, the signals that StopSignal handles are blocked, so that they don't end this process but
/// stay pending. Only one object may exist at a time, and it must be made before other threads are started.
class HeldSignals {
 public:
  HeldSignals();
  /// Restores the former signal mask: a signal that is still pending then takes effect.
  ~HeldSignals();
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

  /// Whether one of the signals is pending.
  bool came() const;
  /// The exit status of a process that the signals have stopped, as StopSignal::exit_status().
  int exit_status() const;
  /// Discards the pending signals.
  void forget();
  const sigset_t& mask_before() const { return before_; }

 private:
  sigset_t before_{};
};

/// How a process ended.
struct ProcessEnd {
  int status = 0;  ///< its exit status; 0 where a signal ended it
  int signal = 0;  ///< the signal that ended it; 0 for none
};

/// Runs this program in a child process that shares the standard streams, and waits until it ends. A signal that comes
/// meanwhile is passed on to the child as SIGUSR1, since StopSignal acts on that only once however often it comes; a
/// terminal sends Ctrl-C to both processes. Where this process is killed, the child is killed too.
/// @param words the command line after the program's name.
/// @throws Error when it can't be started.
ProcessEnd run_program(const std::vector<std::string>& words, const HeldSignals& signals);

}  // namespace facet::app
