#include "stop_signal.h"

#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace facet::app {
namespace {

// A signal handler can reach nothing else.
volatile std::sig_atomic_t signalled = 0;
volatile std::sig_atomic_t stepping = 0;

void say(std::string_view line) {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, line.data(), line.size());
}

void note_signal(int signal) {
  const int error_before = errno;
  if (stepping == 0) {
    say("\nfacet: stopped; nothing to save yet\n");
    _exit(StopSignal::exit_status);
  }
  const bool is_first = signalled == 0;
  signalled = 1;
  if (signal != SIGUSR1) {
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
  }
  if (is_first) say("\nfacet: finishing this step, then saving; once more stops at once\n");
  errno = error_before;
}

}  // namespace

StopSignal::StopSignal() {
  signalled = 0;
  stepping = 0;
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &interrupt_before_);
  sigaction(SIGTERM, &action, &terminate_before_);
  sigaction(SIGUSR1, &action, &user_before_);
}

StopSignal::~StopSignal() {
  sigaction(SIGINT, &interrupt_before_, nullptr);
  sigaction(SIGTERM, &terminate_before_, nullptr);
  sigaction(SIGUSR1, &user_before_, nullptr);
}

void StopSignal::begin_steps() { stepping = 1; }

bool StopSignal::came() const { return signalled != 0; }

}  // namespace facet::app
