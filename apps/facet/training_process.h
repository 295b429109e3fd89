#pragma once

#include <csignal>
#include <string>
#include <vector>

namespace facet::app {

/// While it lives, the signals that StopSignal answers don't end this process: they wait to be asked for. One at a time,
/// before other threads are started.
class HeldSignals {
 public:
  HeldSignals();
  /// Puts the former mask back: what came then ends the process after all.
  ~HeldSignals();
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

  /// Whether one of them has come.
  bool came() const;
  /// Of a process that they have stopped, as StopSignal's.
  int exit_status() const;
  /// Forgets those that came.
  void forget();
  const sigset_t& mask_before() const { return before_; }

 private:
  sigset_t before_{};
};

/// How a process came to its end.
struct ProcessEnd {
  int status = 0;  ///< what it exited with; 0 where a signal ended it
  int signal = 0;  ///< the signal that ended it; 0 for none
};

/// Runs this program once more, in a process of its own with this one's standard streams, until it ends. What
/// came of them is handed on as SIGUSR1, which StopSignal takes once however often it comes: a terminal sends its Ctrl-C to
/// both. Where this process is killed, that one is too.
/// @param words the command line after the program's name.
/// @throws Error when it can't be started.
ProcessEnd run_program(const std::vector<std::string>& words, const HeldSignals& signals);

}  // namespace facet::app
