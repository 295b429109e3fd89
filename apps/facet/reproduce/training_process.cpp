#include "reproduce/training_process.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cli/stop_signal.h"
#include "facet/error.h"

namespace facet::app {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) sigaddset(&set, signal);
  return set;
}

constexpr int not_started = 127;  // a shell's exit status for a command that isn't found

/// Runs the program in the child process, where only system calls are allowed between fork() and execv().
[[noreturn]] void become(char* const* words, const sigset_t& mask, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(not_started);  // the parent was killed before prctl()
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  execv("/proc/self/exe", words);
  _exit(not_started);
}

}  // namespace

HeldSignals::HeldSignals() {
  sigset_t held = stop_signals();
  sigaddset(&held, SIGCHLD);
  sigprocmask(SIG_BLOCK, &held, &before_);
}

HeldSignals::~HeldSignals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }

bool HeldSignals::came() const {
  const sigset_t stop = stop_signals();
  sigset_t pending, both;
  sigpending(&pending);
  sigandset(&both, &pending, &stop);
  return sigisemptyset(&both) == 0;
}

int HeldSignals::exit_status() const {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, SIGINT) == 1 ? StopSignal::interrupted : StopSignal::requeue;
}

void HeldSignals::forget() {
  const sigset_t stop = stop_signals();
  while (came()) sigwaitinfo(&stop, nullptr);
}

ProcessEnd run_program(const std::vector<std::string>& words, const HeldSignals& signals) {
  std::vector<std::string> copies{"facet"};
  copies.insert(copies.end(), words.begin(), words.end());
  std::vector<char*> pointers;
  for (std::string& word : copies) pointers.push_back(word.data());
  pointers.push_back(nullptr);

  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) throw Error(fmt::format("a process for {} can't be started: {}", words.front(), std::strerror(errno)));
  if (child == 0) become(pointers.data(), signals.mask_before(), parent);

  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGCHLD);
  bool forwarded = false;
  for (;;) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) {
      return WIFSIGNALED(status) ? ProcessEnd{0, WTERMSIG(status)} : ProcessEnd{WEXITSTATUS(status), 0};
    }
    if (!forwarded && signals.came()) {
      kill(child, SIGUSR1);
      forwarded = true;
    }
    // Only wait for the child's end: a stop signal stays pending, so that came() still returns true afterwards.
    const timespec pause{0, 100'000'000};
    sigtimedwait(&ends, nullptr, &pause);
  }
}

}  // namespace facet::app
