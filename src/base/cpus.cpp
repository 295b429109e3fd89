#include "base/cpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/topology.h"
#include "facet/error.h"
#include "facet/machine.h"

#if defined(FACET_THREADING_OPENMP)
#include <omp.h>
#endif

namespace facet::base {
namespace {

/// The CPUs of OpenMP's places, in the places' order, each once.
std::vector<int> openmp_cpus() {
  std::vector<int> cpus;
#if defined(FACET_THREADING_OPENMP)
  for (int place = 0; place < omp_get_num_places(); ++place) {
    std::vector<int> ids(static_cast<std::size_t>(omp_get_place_num_procs(place)));
    omp_get_place_proc_ids(place, ids.data());
    for (const int cpu : ids) {
      if (std::find(cpus.begin(), cpus.end(), cpu) == cpus.end()) cpus.push_back(cpu);
    }
  }
#endif
  return cpus;
}

}  // namespace

bool openmp_binds() {
#if defined(FACET_THREADING_OPENMP)
  return omp_get_proc_bind() != omp_proc_bind_false && omp_get_num_places() > 0;
#else
  return false;
#endif
}

std::vector<int> usable_cpus() { return openmp_binds() ? openmp_cpus() : affinity(); }

std::string cpu_list(std::vector<int> cpus) {
  std::sort(cpus.begin(), cpus.end());
  std::string text;
  for (std::size_t begin = 0, end = 0; begin < cpus.size(); begin = end) {
    for (end = begin + 1; end < cpus.size() && cpus[end] == cpus[end - 1] + 1; ++end) {
    }
    text += fmt::format("{}{}", text.empty() ? "" : ",", cpus[begin]);
    if (end - begin > 1) text += fmt::format("-{}", cpus[end - 1]);
  }
  return text;
}

std::optional<int> openmp_num_threads() {
  const char* const text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr) return std::nullopt;
  char* end = nullptr;
  const long threads = std::strtol(text, &end, 10);
  const bool valid = threads >= 1 && threads <= max_threads && std::strchr(", ", *end) != nullptr;
  return valid ? std::optional(static_cast<int>(threads)) : std::nullopt;
}

int resolve_threads(int requested, int fallback) {
  return requested > 0 ? requested : openmp_num_threads().value_or(fallback);
}

void require_threads(std::string_view option, int threads) {
  if (threads >= 0 && threads <= max_threads) return;
  throw Error(fmt::format("{} is {}; 0 to {} is allowed", option, threads, max_threads));
}

}  // namespace facet::base

namespace facet {

void leave_openmp_place() {
  if (base::openmp_binds()) base::set_affinity(base::openmp_cpus());
}

int resolve_threads(int requested) {
  base::require_threads("threads", requested);
  return base::resolve_threads(requested, usable_cores());
}

ThreadPlan plan_threads(int threads, int loader_threads, int sharing) {
  constexpr int cores_that_spare_one = 16;
  base::require_threads("threads", threads);
  base::require_threads("loader_threads", loader_threads);
  if (sharing < 1) throw Error(fmt::format("{} processes share the cores; at least 1 is needed", sharing));
  ThreadPlan plan;
  plan.loader = loader_threads;
  const int cores = std::max(1, usable_cores() / sharing);
  const int left = cores < cores_that_spare_one ? cores : std::max(1, cores - std::max(1, plan.loader));
  plan.compute = base::resolve_threads(threads, left);
  return plan;
}

}  // namespace facet
