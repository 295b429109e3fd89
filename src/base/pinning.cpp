#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/cpus.h"
#include "base/parallel.h"
#include "base/topology.h"
#include "facet/error.h"
#include "facet/threads.h"

namespace facet {
namespace base {
namespace {

/// Whether the environment makes OpenMP bind threads: by the user's variables, or by those that this program set before
/// it restarted itself.
/// @throws Error if the variables make OpenMP bind no threads, or if compute threads aren't OpenMP's.
bool environment_binds() {
#if !defined(FACET_THREADING_OPENMP)
  throw Error("compute threads can't be pinned: this build computes on oneTBB, whose threads can't be bound to cores",
              ErrorCode::unsupported);
#endif
  if (openmp_binds()) return true;
  for (const char* name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"}) {
    if (const char* const value = std::getenv(name)) {
      throw Error(fmt::format(
          "compute threads can't be pinned: {} is '{}', with which OpenMP binds no threads; unset it", name, value));
    }
  }
  return false;
}

/// Reserves a core for this process until the process ends in any way or closes the returned descriptor; nothing if
/// another process has reserved it. The reservation is the name of an abstract socket: only one process of a machine
/// (or container) can hold it, and no file can be left over.
std::optional<int> reserve(const Core& core) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = fmt::format("facet, pinned to core {}", core.id);
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM, 0);  // stays open across the restart of the program
  if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), length) != 0 && errno == EADDRINUSE) {
    ::close(socket);
    return std::nullopt;
  }
  return socket;  // if the system refuses the socket or its name, the core isn't reserved but is used anyway
}

struct Places {
  std::string text;          ///< cores as OpenMP's places, those of the threads first: "{0,8},{1,9}"
  std::vector<int> sockets;  ///< descriptors that reserve the threads' cores
};

/// Reserves the cores. @throws Error if there are too few.
Places reserve_places(int threads) {
  const std::vector<Core> cores = Topology::machine().by_core(usable_cpus());
  const std::string needed = fmt::format("each of {} compute threads needs a core of its own", threads);
  if (std::ssize(cores) < threads) throw Error(fmt::format("{}; this process may use {} cores", needed, cores.size()));
  std::vector<std::string> own, others;
  std::vector<int> sockets;
  for (const Core& core : cores) {
    const std::optional<int> socket = std::ssize(own) < threads ? reserve(core) : std::nullopt;
    if (socket) sockets.push_back(*socket);
    (socket ? own : others).push_back(fmt::format("{{{}}}", fmt::join(core.cpus, ",")));
  }
  if (std::ssize(own) < threads) {
    throw Error(fmt::format("{}; of the {} cores that this process may use, {} are pinned to by other programs", needed,
                            cores.size(), cores.size() - own.size()),
                ErrorCode::in_use);
  }
  own.insert(own.end(), others.begin(), others.end());
  return {fmt::format("{}", fmt::join(own, ",")), std::move(sockets)};
}

/// The arguments that this process was started with.
std::vector<std::string> command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  return words;
}

}  // namespace
}  // namespace base

void pin_compute_threads(int threads) {
  if (base::environment_binds()) return;
  ::setenv("OMP_PLACES", base::reserve_places(threads).text.c_str(), 1);
  ::setenv("OMP_PROC_BIND", "close", 1);
  std::vector<std::string> words = base::command_line();
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  // The program is executed by its path, since ps and top would show a process that executes /proc/self/exe as "exe".
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    ::execv(program.c_str(), pointers.data());
    error.assign(errno, std::generic_category());
  }
  throw Error(fmt::format("compute threads can't be pinned: the program can't be restarted: {}", error.message()),
              ErrorCode::io);
}

void require_pinnable(int threads) {
  if (base::environment_binds()) return;
  for (const int socket : base::reserve_places(threads).sockets) ::close(socket);
}

std::string placement(int threads) {
  if (!base::openmp_binds()) return "not pinned";
  const base::ComputeScope scope(threads);
  std::mutex mutex;
  std::set<int> cpus;
  base::parallel_for(threads, 1, [&](std::int64_t, std::int64_t) {
    const std::vector<int> own = base::affinity();
    const std::lock_guard lock(mutex);
    cpus.insert(own.begin(), own.end());
  });
  return fmt::format("pinned to {} {}", cpus.size() == 1 ? "CPU" : "CPUs", base::cpu_list({cpus.begin(), cpus.end()}));
}

}  // namespace facet
