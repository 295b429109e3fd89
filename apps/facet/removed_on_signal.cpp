#include "removed_on_signal.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <csignal>
#include <string>

namespace facet::app {
namespace {

/// A signal handler can reach nothing else, and may not allocate.
struct Place {
  std::atomic<bool> taken = false;
  std::array<char, PATH_MAX> file{};
};
std::array<Place, 8> places;

constexpr std::array ending_signals{SIGINT, SIGTERM, SIGHUP};

void remove_and_end(int signal) {
  for (const Place& place : places) {
    if (place.taken) unlink(place.file.data());
  }
  std::signal(signal, SIG_DFL);
  raise(signal);  // it is blocked until this handler returns
}

}  // namespace

RemovedOnSignal::RemovedOnSignal(const std::filesystem::path& file) : place_(places.size()) {
  const std::string name = std::filesystem::absolute(file).string();
  const auto free = std::find_if(places.begin(), places.end(), [](const Place& place) { return !place.taken; });
  if (free == places.end() || name.size() >= free->file.size()) return;
  std::copy_n(name.c_str(), name.size() + 1, free->file.begin());
  free->taken = true;
  place_ = static_cast<std::size_t>(free - places.begin());
  for (const int signal : ending_signals) {
    struct sigaction before {};
    if (sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_DFL) std::signal(signal, remove_and_end);
  }
}

RemovedOnSignal::~RemovedOnSignal() {
  if (place_ < places.size()) places[place_].taken = false;
}

SignalsHeldBack::SignalsHeldBack() {
  sigset_t held;
  sigemptyset(&held);
  for (const int signal : ending_signals) sigaddset(&held, signal);
  pthread_sigmask(SIG_BLOCK, &held, &before_);
}

SignalsHeldBack::~SignalsHeldBack() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

}  // namespace facet::app
