#include "comm/silence.h"

#include <algorithm>
#include <utility>

namespace facet::comm {
namespace {

constexpr int periods = 10;  // in a timeout
constexpr Silence::Seconds shortest_period{0.02}, longest_period{5};

}  // namespace

std::vector<int> watched_ranks(const std::vector<int>& hosts, int rank) {
  const auto host_of = [&](int r) { return hosts[static_cast<std::size_t>(r)]; };
  const auto is_first = [&](int r) { return host_of(r) == r; };
  std::vector<int> watched;
  for (int r = 0; r < static_cast<int>(hosts.size()); ++r) {
    if (r != rank && (host_of(r) == host_of(rank) || (is_first(r) && is_first(rank)))) watched.push_back(r);
  }
  return watched;
}

Silence::Silence(std::vector<int> hosts, int rank, Seconds timeout, Clock::time_point now)
    : hosts_(std::move(hosts)),
      rank_(rank),
      timeout_(std::max(timeout, periods * shortest_period)),
      period_(std::min(timeout_ / periods, longest_period)),
      passed_(now),
      heard_at_(hosts_.size(), Seconds::max()) {
  for (const int r : watched_ranks(hosts_, rank)) heard(r);
}

void Silence::pass(Clock::time_point now) {
  counted_ += std::min(Seconds(now - passed_), period_);
  passed_ = now;
}

std::vector<int> Silence::lost() const {
  const Seconds longest = counted_ - *std::ranges::min_element(heard_at_);
  if (longest < timeout_) return {};
  std::vector<int> lost;
  for (int r = 0; r < static_cast<int>(heard_at_.size()); ++r) {
    if (is_lost(r)) lost.push_back(r);
  }
  if (rank_ != speaker_for(lost.front()) && longest < timeout_ + 3 * period_) lost.clear();
  return lost;
}

bool Silence::is_lost(int rank) const {
  // Heartbeats of ranks that are lost together have come up to a period apart.
  return counted_ - heard_at_[static_cast<std::size_t>(rank)] >= timeout_ - period_;
}

int Silence::speaker_for(int lost) const {
  // The lowest first rank of another host, since these know of each other also when the whole host is lost; else the
  // lowest rank of the host.
  std::vector<int> watching = watched_ranks(hosts_, lost);
  const auto host_of = [&](int r) { return hosts_[static_cast<std::size_t>(r)]; };
  std::ranges::stable_partition(watching, [&](int r) { return host_of(r) != host_of(lost); });
  return *std::ranges::find_if_not(watching, [&](int r) { return is_lost(r); });  // this rank is among them
}

}  // namespace facet::comm
