#include "comm/silence.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

using namespace facet::comm;
using Clock = Silence::Clock;
using Ranks = std::vector<int>;

namespace {

/// A rank with a clock of its own.
struct Watcher {
  Clock::time_point now;
  Silence silence;

  Watcher(int rank, Ranks hosts, double timeout) : silence(std::move(hosts), rank, Silence::Seconds(timeout), now) {}
  /// Of `size` ranks on one host.
  Watcher(int rank, int size, double timeout) : Watcher(rank, Ranks(static_cast<std::size_t>(size), 0), timeout) {}

  /// Seconds go by, in passes of a tenth of the timeout each, in which `heard` are heard.
  void run(double seconds, const Ranks& heard = {}) {
    for (Silence::Seconds left(seconds); left.count() > 1e-9; left -= silence.period()) {
      now += std::chrono::duration_cast<Clock::duration>(silence.period());
      silence.pass(now);
      for (const int rank : heard) silence.heard(rank);
    }
  }
};

}  // namespace

TEST_CASE("a rank is lost that has been silent for the timeout") {
  Watcher first(0, 3, 10);
  CHECK(first.silence.period().count() == doctest::Approx(1));
  first.run(100, {1, 2});
  CHECK(first.silence.lost() == Ranks{});
  first.run(9, {2});
  CHECK(first.silence.lost() == Ranks{});
  first.run(1, {2});
  CHECK(first.silence.lost() == Ranks{1});
  first.run(1, {1, 2});
  CHECK(first.silence.lost() == Ranks{});
}

TEST_CASE("ranks that were lost together are named together") {
  Watcher first(0, 4, 10);
  first.run(1, {1, 2, 3});
  first.run(1, {2, 3});
  first.run(9, {3});
  CHECK(first.silence.lost() == Ranks{1, 2});
}

TEST_CASE("a rank watches those of its host, and the first ranks of hosts watch each other") {
  const Ranks one_host{0, 0, 0}, each_alone{0, 1, 2}, two_hosts{0, 0, 0, 3, 3}, in_turn{0, 1, 0, 1, 0};
  CHECK(watched_ranks({0}, 0) == Ranks{});
  CHECK(watched_ranks(one_host, 0) == Ranks{1, 2});
  CHECK(watched_ranks(one_host, 2) == Ranks{0, 1});
  CHECK(watched_ranks(each_alone, 1) == Ranks{0, 2});
  CHECK(watched_ranks(two_hosts, 0) == Ranks{1, 2, 3});
  CHECK(watched_ranks(two_hosts, 1) == Ranks{0, 2});
  CHECK(watched_ranks(two_hosts, 3) == Ranks{0, 4});
  CHECK(watched_ranks(two_hosts, 4) == Ranks{3});
  CHECK(watched_ranks(in_turn, 1) == Ranks{0, 3});
  CHECK(watched_ranks(in_turn, 4) == Ranks{0, 2});
}

namespace {

/// The ranks that end the run at the timeout when `lost` are lost; all others must three periods later, if they watch
/// one of these.
Ranks speakers(const Ranks& hosts, const Ranks& lost) {
  const auto is_lost = [&](int rank) { return std::ranges::count(lost, rank) > 0; };
  Ranks found;
  for (int rank = 0; rank < static_cast<int>(hosts.size()); ++rank) {
    if (is_lost(rank)) continue;
    Ranks heard, missed;
    for (const int r : watched_ranks(hosts, rank)) (is_lost(r) ? missed : heard).push_back(r);
    Watcher watcher(rank, hosts, 10);
    watcher.run(10, heard);
    if (!watcher.silence.lost().empty()) found.push_back(rank);
    CHECK((watcher.silence.lost().empty() || watcher.silence.lost() == missed));
    watcher.run(2, heard);
    CHECK(watcher.silence.lost().empty() == (std::ranges::count(found, rank) == 0));
    watcher.run(1, heard);
    CHECK(watcher.silence.lost() == missed);
  }
  return found;
}

}  // namespace

TEST_CASE("one rank ends the run, and the others if it doesn't") {
  const Ranks one_host{0, 0, 0, 0}, each_alone{0, 1, 2}, three_hosts{0, 0, 0, 3, 3, 3, 6, 6, 6},
      in_turn{0, 1, 2, 0, 1, 2};
  CHECK(speakers(one_host, {}) == Ranks{});
  CHECK(speakers(one_host, {1}) == Ranks{0});
  CHECK(speakers(one_host, {0}) == Ranks{1});
  CHECK(speakers(one_host, {0, 1, 3}) == Ranks{2});
  CHECK(speakers(each_alone, {1}) == Ranks{0});
  CHECK(speakers(each_alone, {0}) == Ranks{1});
  CHECK(speakers(each_alone, {0, 1}) == Ranks{2});
  CHECK(speakers(three_hosts, {5}) == Ranks{3});
  CHECK(speakers(three_hosts, {3}) == Ranks{0});
  CHECK(speakers(three_hosts, {0}) == Ranks{3});
  CHECK(speakers(three_hosts, {3, 4, 5}) == Ranks{0});
  CHECK(speakers(three_hosts, {0, 1, 2}) == Ranks{3});
  CHECK(speakers(three_hosts, {0, 1, 2, 3, 4, 5}) == Ranks{6});
  CHECK(speakers(three_hosts, {0, 5}) == Ranks{3});
  CHECK(speakers(in_turn, {4}) == Ranks{1});
  CHECK(speakers(in_turn, {1}) == Ranks{0});
  CHECK(speakers(in_turn, {0, 3}) == Ranks{1});
}

TEST_CASE("where the network is cut, each side ends") {
  Watcher left(0, 4, 10), right(2, 4, 10), beside(3, 4, 10);
  left.run(10, {1});
  right.run(10, {3});
  beside.run(10, {2});
  CHECK(left.silence.lost() == Ranks{2, 3});
  CHECK(right.silence.lost() == Ranks{0, 1});
  CHECK(beside.silence.lost() == Ranks{});
}

TEST_CASE("time in which the process is stopped doesn't count") {
  Watcher first(0, 2, 10);
  first.run(5);
  first.now += std::chrono::hours(1);
  first.silence.pass(first.now);
  CHECK(first.silence.lost() == Ranks{});
  first.run(3);
  CHECK(first.silence.lost() == Ranks{});
  first.run(1);
  CHECK(first.silence.lost() == Ranks{1});
}

TEST_CASE("ranks that have left may be silent") {
  Watcher first(0, 3, 10);
  first.silence.left(1);
  first.run(100, {2});
  CHECK(first.silence.lost() == Ranks{});
  first.run(10);
  CHECK(first.silence.lost() == Ranks{2});
  first.silence.left(2);
  CHECK(first.silence.lost() == Ranks{});
}

TEST_CASE("heartbeats come ten or more times in a timeout, neither very often nor very seldom") {
  CHECK(Watcher(0, 2, 1e-9).silence.period().count() == doctest::Approx(0.02));
  CHECK(Watcher(0, 2, 2).silence.period().count() == doctest::Approx(0.2));
  CHECK(Watcher(0, 2, 1e300).silence.period().count() == doctest::Approx(5));
  Watcher brief(0, 2, 0);
  brief.run(0.18);
  CHECK(brief.silence.lost() == Ranks{});
  brief.run(0.04);
  CHECK(brief.silence.lost() == Ranks{1});
}
