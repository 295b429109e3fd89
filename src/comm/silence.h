#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

namespace facet::comm {

/// Returns the ranks that `rank` watches, ascending: the others of its host and, on the first rank of a host, those of
/// the other hosts. So each rank is watched, connections stay few, and two ranks watch each other or neither does.
/// @param hosts the first rank of the host of each rank.
std::vector<int> watched_ranks(const std::vector<int>& hosts, int rank);

/// For how long the ranks that this one watches have been silent, and which of them are lost. Time in which this
/// process doesn't run, because it is stopped or the machine sleeps, doesn't count: each pass() adds the time since the
/// one before, but at most a period.
class Silence {
 public:
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;

  /// @param hosts, rank see watched_ranks(). @param timeout for how long a rank may be silent; 0.2 s at least.
  Silence(std::vector<int> hosts, int rank, Seconds timeout, Clock::time_point now);

  /// The time between two heartbeats of a rank: a tenth of the timeout, from 20 ms to 5 s.
  Seconds period() const { return period_; }
  /// Counts the time since the last call. Call this at least once in a period.
  void pass(Clock::time_point now);
  /// A rank has given a sign of life.
  void heard(int rank) { heard_at_[static_cast<std::size_t>(rank)] = counted_; }
  /// A rank has come to its end, after which it may be silent.
  void left(int rank) { heard_at_[static_cast<std::size_t>(rank)] = Seconds::max(); }
  /// Returns the ranks that are lost, ascending, once this rank is to end the run for them: after the timeout where it
  /// is the one that speaks for all, else three periods later, when that one hasn't succeeded.
  std::vector<int> lost() const;

 private:
  bool is_lost(int rank) const;
  /// The rank that is to end the run when this one is lost, among those that watch it and aren't lost themselves.
  int speaker_for(int lost) const;

  std::vector<int> hosts_;
  int rank_;
  Seconds timeout_, period_;
  Clock::time_point passed_;
  Seconds counted_{0};             ///< time in which this process ran
  std::vector<Seconds> heard_at_;  ///< by rank, in counted time; the greatest value where a rank isn't waited for
};

}  // namespace facet::comm
