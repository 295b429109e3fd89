#include "ranks.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <span>

#include "comm/communicator.h"
#include "facet/error.h"

namespace facet::bench {
namespace {

/// Prints what all ranks have failed with on rank 0 alone. What the others don't know of ends them.
void report(const char* name, const ProcessGroup& ranks, const std::exception& error) {
  const bool is_known = ranks.size() == 1 || ranks.has_failed();
  if (!is_known) {
    fmt::print(stderr, "{}: {}: {}\n", name, ranks.name(ranks.rank()), error.what());
    ranks.abort(1);
  }
  if (ranks.rank() == 0) fmt::print(stderr, "{}: {}\n", name, error.what());
}

}  // namespace

int run_on_ranks(const char* name, const std::function<void(const ProcessGroup&)>& parse,
                 const std::function<void(const ProcessGroup&)>& run) {
  int status = 2;
  try {
    // Static, so that --help, which calls std::exit, leaves the group too.
    static const ProcessGroup ranks = ProcessGroup::is_launched() ? ProcessGroup::join() : ProcessGroup();
    try {
      // Rank 0 alone prints.
      if (ranks.rank() > 0 && std::freopen("/dev/null", "w", stdout) == nullptr) {
        throw Error("/dev/null: can't be opened", ErrorCode::io);
      }
      ranks.together([&] { parse(ranks); });
      status = 1;
      run(ranks);
      status = 0;
    } catch (const std::exception& error) {
      report(name, ranks, error);
    }
  } catch (const std::exception& error) {  // the ranks can't be joined
    fmt::print(stderr, "{}: {}\n", name, error.what());
    status = 1;
  }
  std::fflush(stdout);  // a launcher may end this process as soon as another has left with a status other than 0
  return status;
}

int count_hosts(const ProcessGroup& ranks) {
  const auto firsts = ranks.communicator().all_gather(static_cast<std::uint8_t>(ranks.local_rank() == 0 ? 1 : 0));
  return static_cast<int>(std::ranges::count(firsts, 1));
}

std::vector<double> slowest_of(const ProcessGroup& ranks, const std::vector<double>& seconds) {
  std::vector<double> all(seconds.size() * static_cast<std::size_t>(ranks.size())), slowest = seconds;
  ranks.communicator().all_gather(std::span<const double>(seconds), std::span(all));
  for (std::size_t i = 0; i < all.size(); ++i) {
    double& value = slowest[i % seconds.size()];
    value = std::max(value, all[i]);
  }
  return slowest;
}

std::string ranks_text(int ranks, int hosts) {
  return fmt::format("{} rank{} on {} host{}", ranks, ranks == 1 ? "" : "s", hosts, hosts == 1 ? "" : "s");
}

}  // namespace facet::bench
