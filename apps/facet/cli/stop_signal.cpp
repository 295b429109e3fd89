#include "cli/stop_signal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <ctime>
#include <string>
#include <string_view>

#include "cli/median.h"

namespace facet::app {
namespace {

constexpr int shortest_wait = 10;  // seconds without a step after a signal
constexpr std::size_t remembered_steps = 31;

// The signal handlers can only reach static data.
volatile std::sig_atomic_t signalled = 0;  // the first signal that came
volatile std::sig_atomic_t stepping = 0;
volatile std::sig_atomic_t is_saving = 0;
volatile std::sig_atomic_t is_saved = 0;  // the run is saved after the first signal; the process only has to end
volatile std::sig_atomic_t longest_wait = shortest_wait;
timespec signalled_at;  // written once, by the first signal
volatile std::sig_atomic_t is_first_rank = 1;
std::string saved_text, stuck_text;  // what give_up() prints; only the constructor changes them

void print(std::string_view line) {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, line.data(), line.size());
}

/// Prints what all ranks would say, on rank 0.
void say(std::string_view line) {
  if (is_first_rank != 0) print(line);
}

int status_after(int signal) { return signal == SIGINT ? StopSignal::interrupted : StopSignal::requeue; }

bool is_a_second_old(const timespec& time) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec - time.tv_sec > 1 || (now.tv_sec - time.tv_sec == 1 && now.tv_nsec >= time.tv_nsec);
}

void note_signal(int signal) {
  const int error_before = errno;
  if (stepping == 0) {
    say("\nfacet: stopped; nothing to save yet\n");
    _exit(status_after(signal));
  }
  if (signalled == 0) {
    clock_gettime(CLOCK_MONOTONIC, &signalled_at);
    signalled = signal;
    if (is_saving == 0) alarm(static_cast<unsigned>(longest_wait));
    say("\nfacet: finishing this step, then saving; another signal stops at once\n");
  } else if (signal != SIGUSR1 && is_a_second_old(signalled_at)) {
    std::signal(signal, SIG_DFL);
    raise(signal);  // it is blocked until this handler returns
  }
  errno = error_before;
}

void give_up(int) {
  print(is_saved != 0 ? saved_text : stuck_text);
  _exit(status_after(signalled));
}

}  // namespace

StopSignal::StopSignal(const ProcessGroup& ranks) : ranks_(ranks) {
  const std::string name = ranks.size() > 1 ? fmt::format("facet: {}", ranks.name(ranks.rank())) : "facet";
  saved_text = fmt::format("\n{}: everything is saved, but a thread does not end; ending the process\n", name);
  stuck_text = fmt::format(
      "\n{}: no step has ended since the signal; ending the process; the last checkpoint is unchanged\n", name);
  is_first_rank = ranks.rank() == 0 ? 1 : 0;
  signalled = 0;
  stepping = 0;
  is_saving = 0;
  is_saved = 0;
  longest_wait = shortest_wait;
  struct sigaction action {};
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) sigaddset(&action.sa_mask, signal);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGALRM}) {
    action.sa_handler = signal == SIGALRM ? give_up : note_signal;
    sigaction(signal, &action, &before_[signal]);
    if (signal == SIGHUP && before_[signal].sa_handler == SIG_IGN) std::signal(signal, SIG_IGN);
  }
}

StopSignal::~StopSignal() {
  alarm(0);
  if (signalled != 0) return;  // a repeated signal must not change the exit status
  for (const auto& [signal, action] : before_) sigaction(signal, &action, nullptr);
}

void StopSignal::begin_steps() {
  last_step_ = std::chrono::steady_clock::now();
  stepping = 1;
}

void StopSignal::step_ended() {
  const auto now = std::chrono::steady_clock::now();
  const double taken = std::chrono::duration<double>(now - last_step_).count();
  last_step_ = now;
  if (seconds_.size() < remembered_steps) {
    seconds_.push_back(taken);
  } else {
    seconds_[steps_ % remembered_steps] = taken;
  }
  ++steps_;
  longest_wait = std::max(shortest_wait, static_cast<int>(std::ceil(5 * median(seconds_))));
}

void StopSignal::saving(bool begins) {
  is_saving = begins ? 1 : 0;
  if (signalled == 0) return;
  if (!begins && answered_) is_saved = 1;
  alarm(begins ? 0U : static_cast<unsigned>(longest_wait));
}

bool StopSignal::came() const {
  if (signalled == 0) return false;
  alarm(0);
  answered_ = true;
  return true;
}

int StopSignal::exit_status() const { return ranks_.max(signalled == SIGINT ? 1 : 0) != 0 ? interrupted : requeue; }

}  // namespace facet::app
