#include "base/pinning.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/cpus.h"
#include "base/parallel.h"
#include "facet/error.h"

namespace facet::base {
namespace {

/// Whether the user tells the OpenMP runtime where threads belong; so it is, too, once this program has been started
/// anew.
bool openmp_is_told() {
  const auto is_set = [](const char* name) { return std::getenv(name) != nullptr; };
  constexpr std::array names{"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"};
  return std::any_of(names.begin(), names.end(), is_set);
}

/// Takes a core for this process until it ends, however it does; false where another has it. The name of an abstract
/// socket is what only one process of a machine (or container) can have, and needs no file that could be left over.
bool take(const Core& core) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = fmt::format("facet, pinned to core {}", core.id);
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const int holder = ::socket(AF_UNIX, SOCK_DGRAM, 0);  // kept, by the program that is started anew too
  if (::bind(holder, reinterpret_cast<const sockaddr*>(&address), length) == 0) return true;
  const bool taken = errno == EADDRINUSE;
  if (holder >= 0) ::close(holder);
  return !taken;
}

/// Cores as OpenMP's places, the threads' own first: "{0,8},{1,9}".
std::string places(int threads) {
  const std::vector<Core> cores = by_core(usable_cpus());
  const std::string needed = fmt::format("each of {} compute threads needs a core of its own", threads);
  if (std::ssize(cores) < threads) throw Error(fmt::format("{}; {} may be used", needed, cores.size()));
  std::vector<std::string> own, others;
  for (const Core& core : cores) {
    (std::ssize(own) < threads && take(core) ? own : others)
        .push_back(fmt::format("{{{}}}", fmt::join(core.cpus, ",")));
  }
  if (std::ssize(own) < threads) {
    throw Error(fmt::format("{}; of {} that may be used, {} are pinned to by other programs", needed, cores.size(),
                            cores.size() - own.size()));
  }
  own.insert(own.end(), others.begin(), others.end());
  return fmt::format("{}", fmt::join(own, ","));
}

/// The words that this process was started with.
std::vector<std::string> command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  return words;
}

}  // namespace

void pin_compute_threads(int threads) {
  if (openmp_is_told()) return;
#if !defined(FACET_THREADING_OPENMP)
  throw Error("compute threads can't be pinned: oneDNN computes on oneTBB here, whose threads belong to no core");
#endif
  ::setenv("OMP_PLACES", places(threads).c_str(), 1);
  ::setenv("OMP_PROC_BIND", "close", 1);
  std::vector<std::string> words = command_line();
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  // By its path, since a process that executes /proc/self/exe is called exe by ps and top.
  ::execv(std::filesystem::read_symlink("/proc/self/exe").c_str(), pointers.data());
  throw Error(fmt::format("to pin compute threads, the program can't be started anew: {}", std::strerror(errno)));
}

std::string placement(int threads) {
  if (!openmp_binds()) return "not pinned";
  const ComputeScope scope(threads);
  std::mutex mutex;
  std::set<int> cpus;
  parallel_for(threads, 1, [&](std::int64_t, std::int64_t) {
    const std::vector<int> own = affinity();
    const std::lock_guard lock(mutex);
    cpus.insert(own.begin(), own.end());
  });
  return fmt::format("pinned to {} {}", cpus.size() == 1 ? "CPU" : "CPUs", cpu_list({cpus.begin(), cpus.end()}));
}

}  // namespace facet::base
