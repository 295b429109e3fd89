#pragma once

#include <csignal>

namespace facet::app {

/// While it lives, the first SIGINT or SIGTERM is noted and answered by a line on standard error; the next one ends the
/// process at once. One at a time.
class StopSignal {
 public:
  StopSignal();
  /// Puts the former handlers back.
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  bool came() const;

 private:
  struct sigaction interrupt_before_ {};
  struct sigaction terminate_before_ {};
};

}  // namespace facet::app
