#pragma once

#include <sched.h>

#include <chrono>
#include <thread>

namespace facet::comm {

/// For how long a thread that waits yields the core before it sleeps: one that trains, and one in the background,
/// beside which the compute threads use the cores.
inline constexpr std::chrono::microseconds training_patience{20000}, background_patience{50};

/// Calls `is_done` until it returns true. It soon leaves the core to others, such as the compute threads of other ranks
/// where these share cores: MPI's own functions keep a core busy while they wait.
void wait_until(const auto& is_done, std::chrono::microseconds patience = training_patience) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point began = Clock::now();
  while (!is_done()) {
    const auto waited = Clock::now() - began;
    if (waited > patience) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    } else if (waited > std::chrono::microseconds(50)) {
      sched_yield();
    }
  }
}

}  // namespace facet::comm
