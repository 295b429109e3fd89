#pragma once

#include <csignal>

namespace facet::app {

/// While it lives, SIGINT and SIGTERM are answered by a line on standard error. Until steps begin there is nothing to
/// save: the process ends at once. From then on the first signal is noted and the next one ends the process. SIGUSR1
/// asks for the same as a first one, however often it comes: for programs that hand a signal on which the process may
/// have got itself. One at a time.
class StopSignal {
 public:
  static constexpr int exit_status = 130;  ///< of a program that was stopped

  StopSignal();
  /// Puts the former handlers back.
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  void begin_steps();
  bool came() const;

 private:
  struct sigaction interrupt_before_ {};
  struct sigaction terminate_before_ {};
  struct sigaction user_before_ {};
};

}  // namespace facet::app
