#include "comm/placement.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <map>
#include <string_view>
#include <utility>

#include "base/cpus.h"

namespace facet::comm {
namespace {

using Cores = std::vector<base::Core>;

/// Part `number` of `parts` equal ones.
std::span<const base::Core> part_of(std::span<const base::Core> cores, std::size_t number, std::size_t parts) {
  const std::size_t begin = cores.size() * number / parts, end = cores.size() * (number + 1) / parts;
  return cores.subspan(begin, end - begin);
}

/// Divides cores into parts, of which there are no more than cores. A part is at home in the node of its middle core;
/// where the parts fit into their nodes, each stays in its own.
std::vector<std::vector<int>> divide(const std::vector<Cores>& nodes, std::size_t parts) {
  Cores all;
  std::vector<std::size_t> node_of;  // of each core
  for (std::size_t node = 0; node < nodes.size(); ++node) {
    all.insert(all.end(), nodes[node].begin(), nodes[node].end());
    node_of.resize(all.size(), node);
  }
  std::vector<std::size_t> at_home(nodes.size());
  for (std::size_t p = 0; p < parts; ++p) {
    ++at_home[node_of[(all.size() * p / parts + all.size() * (p + 1) / parts) / 2]];
  }
  bool fits = true;
  for (std::size_t node = 0; node < nodes.size(); ++node) {
    fits = fits && nodes[node].size() >= at_home[node] * (all.size() / parts);
  }
  std::vector<std::vector<int>> divided;
  const auto add = [&](std::span<const base::Core> cores) {
    std::vector<int>& cpus = divided.emplace_back();
    for (const base::Core& core : cores) cpus.insert(cpus.end(), core.cpus.begin(), core.cpus.end());
    std::ranges::sort(cpus);
  };
  if (fits) {
    for (std::size_t node = 0; node < nodes.size(); ++node) {
      for (std::size_t p = 0; p < at_home[node]; ++p) add(part_of(nodes[node], p, at_home[node]));
    }
  } else {
    for (std::size_t p = 0; p < parts; ++p) add(part_of(all, p, parts));
  }
  return divided;
}

/// The IDs of the cores that CPUs are of, ascending.
std::vector<int> core_ids(const base::Topology& topology, const std::vector<int>& cpus) {
  std::vector<int> ids;
  for (const base::Core& core : topology.by_core(cpus)) ids.push_back(core.id);
  std::ranges::sort(ids);
  return ids;
}

bool overlap(const std::vector<int>& some, const std::vector<int>& others) {
  return std::ranges::any_of(some, [&](int one) { return std::ranges::binary_search(others, one); });
}

}  // namespace

GivenCpus given_cpus() {
  GivenCpus given{.cpus = base::usable_cpus(), .has_places = base::openmp_binds()};
  std::ranges::sort(given.cpus);
  return given;
}

std::vector<Place> place_ranks(const base::Topology& topology, const std::vector<GivenCpus>& given,
                               std::int64_t quota) {
  std::vector<Place> places(given.size());
  std::map<std::vector<int>, std::vector<std::size_t>> ranks_of;  // by CPUs
  for (std::size_t r = 0; r < given.size(); ++r) {
    places[r].cpus = given[r].cpus;
    ranks_of[given[r].cpus].push_back(r);
  }
  for (const auto& [cpus, ranks] : ranks_of) {
    const std::vector<int> ids = core_ids(topology, cpus);
    const bool is_theirs_alone = std::ranges::none_of(ranks_of, [&, &own = cpus](const auto& others) {
      return others.first != own && overlap(ids, core_ids(topology, others.first));
    });
    const bool has_places = std::ranges::any_of(ranks, [&](std::size_t r) { return given[r].has_places; });
    if (ranks.size() == 1 || ids.size() < ranks.size() || !is_theirs_alone || has_places || quota < std::ssize(ids)) {
      continue;
    }
    std::vector<std::vector<int>> parts = divide(topology.by_node(cpus), ranks.size());
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      places[ranks[i]] = {.cpus = std::move(parts[i]), .is_divided = true};
    }
  }
  std::vector<std::vector<int>> ids;
  for (const Place& place : places) ids.push_back(core_ids(topology, place.cpus));
  for (std::size_t r = 0; r < places.size(); ++r) {
    places[r].sharing =
        static_cast<int>(std::ranges::count_if(ids, [&](const auto& others) { return overlap(ids[r], others); }));
  }
  return places;
}

int ranks_in_quota(std::int64_t own, std::int64_t all, std::int64_t quota) {
  if (own < 1 || all <= quota) return 1;
  // The rank's share is own * quota / all cores, of the min(own, quota) that it would use alone.
  const std::int64_t share = own * quota;
  return static_cast<int>((std::min(own, quota) * all + share - 1) / share);
}

namespace {

std::string counted(int number, std::string_view unit) {
  return fmt::format("{} {}{}", number, unit, number == 1 ? "" : "s");
}

/// By the number of the host.
std::map<int, std::vector<PlacedRank>> by_host(std::span<const PlacedRank> ranks) {
  std::map<int, std::vector<PlacedRank>> hosts;
  for (const PlacedRank& rank : ranks) hosts[rank.host].push_back(rank);
  return hosts;
}

/// The CPUs of ranks by local rank, where neighbours that have the same are named once.
std::string cpu_lists(const std::vector<PlacedRank>& ranks) {
  std::vector<std::string> lists;
  for (const PlacedRank& rank : ranks) lists.push_back(base::cpu_list(rank.place.cpus));
  lists.erase(std::ranges::unique(lists).begin(), lists.end());
  return fmt::format("{}", fmt::join(lists, "; "));
}

bool overlaps(const PlacedRank& rank) { return rank.place.sharing > 1; }

/// The ranks of a host, and how they were started.
struct HostRanks {
  std::vector<PlacedRank> ranks;
  std::size_t hosts = 1;  ///< that ranks are on
  Launcher launcher = Launcher::none;

  const PlacedRank& first() const { return ranks.front(); }
  int count() const { return static_cast<int>(ranks.size()); }
  /// The cores of the host for each rank.
  int each() const { return first().host_cores / count(); }
  std::string on_host() const { return hosts == 1 ? "" : " on " + first().host_name; }
  /// How the ranks are started so that each has `cores` of its own.
  std::string start(int cores) const {
    switch (launcher) {
      case Launcher::open_mpi:
        return hosts == 1 ? fmt::format("mpirun --map-by slot:PE={} --bind-to core", cores)
                          : fmt::format("mpirun --map-by ppr:{}:node:PE={} --bind-to core", count(), cores);
      case Launcher::hydra:
        return fmt::format("mpiexec -bind-to core:{}", cores);
      case Launcher::srun:
        return fmt::format("srun --cpus-per-task={}", cores * first().cpus_per_core);
      case Launcher::none:
        break;
    }
    return "a launcher that binds ranks to cores";
  }
};

/// What is told of ranks that overlap; nothing where none do, or where they have a CPU quota to share.
std::string overlap_problem(const HostRanks& host) {
  if (std::ranges::none_of(host.ranks, overlaps)) return "";
  const PlacedRank& first = host.first();
  const bool is_one_set = std::ranges::all_of(
      host.ranks, [&](const PlacedRank& rank) { return rank.place.cpus == first.place.cpus && !rank.has_places; });
  if (is_one_set && first.cores >= host.count()) return "";
  const std::string found =
      is_one_set ? fmt::format("{} ranks{} share {}", host.count(), host.on_host(), counted(first.cores, "core"))
                 : fmt::format("ranks{} may use the same cores (CPUs {})", host.on_host(), cpu_lists(host.ranks));
  if (host.each() == 0) return found + "; more ranks than cores are slow";
  return found + fmt::format("; {} gives each {} of its own", host.start(host.each()), counted(host.each(), "core"));
}

/// What is told of ranks that leave cores unused; nothing where they overlap, or where no flags give them more.
std::string unused_problem(const HostRanks& host, int threads) {
  if (std::ranges::any_of(host.ranks, overlaps)) return "";
  const int least = std::ranges::min(host.ranks, {}, &PlacedRank::cores).cores;
  int used = 0;
  for (const PlacedRank& rank : host.ranks) used += rank.cores;
  const int host_cores = host.first().host_cores;
  const int wanted = threads > 0 ? threads : used * 2 <= host_cores ? host.each() : least;
  if (wanted <= least || wanted > host.each()) return "";
  const bool is_alone = host.count() == 1;
  return fmt::format("{}{} may use {} of {}; {} gives {} {}", is_alone ? "the rank" : "each rank", host.on_host(),
                     least, counted(host_cores, "core"), host.start(wanted), is_alone ? "it" : "each", wanted);
}

}  // namespace

std::string describe(std::span<const PlacedRank> ranks) {
  constexpr std::size_t longest = 80;
  const auto hosts = by_host(ranks);
  const std::string lists = cpu_lists(hosts.begin()->second);
  const bool are_same = std::ranges::all_of(hosts, [&](const auto& host) { return cpu_lists(host.second) == lists; });
  const auto [least, most] = std::ranges::minmax(ranks, {}, &PlacedRank::cores);
  std::string text = fmt::format("{} on {}", ranks.size(), counted(static_cast<int>(hosts.size()), "host"));
  if (std::ranges::any_of(ranks, overlaps)) {
    const bool is_one_list = are_same && lists.find(';') == std::string::npos;
    text += is_one_list ? fmt::format(", sharing {}", counted(least.cores, "core")) : ", some on the same cores";
  } else if (least.cores == most.cores) {
    text += fmt::format(", {} each", counted(least.cores, "core"));
  } else {
    text += fmt::format(", {} to {} cores each", least.cores, most.cores);
  }
  if (std::ranges::any_of(ranks, [](const PlacedRank& rank) { return rank.place.is_divided; })) {
    text += ", divided by local rank";
  }
  if (!are_same || lists.size() > longest) return text;
  return text + fmt::format(": {} {}{}", lists.find_first_of(",;-") == std::string::npos ? "CPU" : "CPUs", lists,
                            hosts.size() == 1 ? "" : " of each");
}

Launcher launcher_of_environment() {
  const auto sets = [](const char* name) { return std::getenv(name) != nullptr; };
  // Those of mpirun first: it starts its own processes by srun where there is Slurm, and their variables remain.
  if (sets("OMPI_COMM_WORLD_SIZE")) return Launcher::open_mpi;
  if (sets("MPI_LOCALNRANKS")) return Launcher::hydra;
  if (sets("SLURM_STEP_NUM_TASKS") && sets("SLURM_PROCID")) return Launcher::srun;
  return Launcher::none;
}

int least_slurm_cpus(std::string_view per_node) {
  int least = 0;
  while (!per_node.empty()) {
    int cpus = 0;
    std::from_chars(per_node.data(), per_node.data() + per_node.size(), cpus);
    if (cpus > 0 && (least == 0 || cpus < least)) least = cpus;
    per_node.remove_prefix(std::min(per_node.find(','), per_node.size() - 1) + 1);
  }
  return least;
}

std::vector<std::string> placement_problems(std::span<const PlacedRank> ranks, Launcher launcher, int threads) {
  if (launcher == Launcher::none && ranks.size() == 1) return {};
  std::string overlapping, unused;
  const auto hosts = by_host(ranks);
  for (const auto& [number, local] : hosts) {
    const HostRanks host{.ranks = local, .hosts = hosts.size(), .launcher = launcher};
    if (overlapping.empty()) overlapping = overlap_problem(host);
    if (unused.empty()) unused = unused_problem(host, threads);
  }
  std::vector<std::string> problems;
  for (std::string* const text : {&overlapping, &unused}) {
    if (!text->empty()) problems.push_back(std::move(*text));
  }
  return problems;
}

}  // namespace facet::comm
