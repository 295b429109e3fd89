#include <fmt/format.h>
#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <new>
#include <string_view>
#include <thread>

#include "comm/communicator.h"
#include "facet/error.h"

namespace facet::comm {
namespace {

using Clock = std::chrono::steady_clock;

/// Calls `is_done` until it returns true. MPI's own functions keep a core busy while they wait, which takes it from the
/// compute threads of other ranks where these share cores, and from rank 0 while it times primitives.
void wait_until(const auto& is_done) {
  const Clock::time_point began = Clock::now();
  while (!is_done()) {
    const auto waited = Clock::now() - began;
    if (waited > std::chrono::milliseconds(20)) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    } else if (waited > std::chrono::microseconds(50)) {
      sched_yield();
    }
  }
}

void wait(std::span<MPI_Request> requests) {
  wait_until([&] {
    int done = 0;
    MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
    return done != 0;
  });
}

void wait(MPI_Request& request) { wait(std::span(&request, 1)); }

/// Where the processes of a host meet, in shared memory. Zeros at the beginning.
struct HostBarrier {
  std::atomic<std::uint32_t> arrived, meetings;
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
};

class MpiTransport final : public Transport {
 public:
  explicit MpiTransport(bool finalizes) : finalizes_(finalizes) {
    // A communicator of our own, so that messages of the program that links facet aren't mixed with ours.
    MPI_Comm_dup(MPI_COMM_WORLD, &world_);
    MPI_Comm_set_errhandler(world_, MPI_ERRORS_ARE_FATAL);
    MPI_Comm_rank(world_, &rank_);
    MPI_Comm_size(world_, &size_);
    MPI_Comm_split_type(world_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host_);
    int on_host = 1;
    MPI_Comm_size(host_, &on_host);
    host_ranks_.resize(static_cast<std::size_t>(on_host));
    MPI_Allgather(&rank_, 1, MPI_INT, host_ranks_.data(), 1, MPI_INT, host_);
  }
  ~MpiTransport() override {
    int ended = 0;
    MPI_Finalized(&ended);
    if (ended != 0) return;
    if (window_ != MPI_WIN_NULL) MPI_Win_free(&window_);
    MPI_Comm_free(&host_);
    MPI_Comm_free(&world_);
    if (finalizes_) MPI_Finalize();
  }
  MpiTransport(const MpiTransport&) = delete;
  MpiTransport& operator=(const MpiTransport&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_gather(std::span<const std::byte> own, std::span<std::byte> all) override {
    const int bytes = static_cast<int>(own.size());
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Iallgather(own.data(), bytes, MPI_BYTE, all.data(), bytes, MPI_BYTE, world_, &request);
    wait(request);
  }

  void broadcast(std::span<std::byte> bytes, int root) override {
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Ibcast(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, root, world_, &request);
    wait(request);
  }

  void exchange(std::span<const std::span<const std::byte>> sent,
                std::span<const std::span<std::byte>> received) override {
    constexpr int tag = 0;
    requests_.clear();
    for (int r = 0; r < size_; ++r) {
      const std::span<std::byte> bytes = received[static_cast<std::size_t>(r)];
      if (r == rank_ || bytes.empty()) continue;
      MPI_Irecv(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, r, tag, world_, &requests_.emplace_back());
    }
    for (int i = 1; i < size_; ++i) {
      const int r = (rank_ + i) % size_;  // not all to the same one first
      const std::span<const std::byte> bytes = sent[static_cast<std::size_t>(r)];
      if (bytes.empty()) continue;
      MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, r, tag, world_, &requests_.emplace_back());
    }
    if (!requests_.empty()) wait(requests_);
  }

  std::span<const int> host_ranks() const override { return host_ranks_; }

  std::span<const std::span<std::byte>> shared_segments() override {
    if (!asked_for_memory_) share_memory();
    asked_for_memory_ = true;
    return segments_;
  }

  void host_barrier() override {
    const std::uint32_t meeting = barrier_->meetings.load(std::memory_order_acquire);
    if (barrier_->arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == host_ranks_.size()) {
      barrier_->arrived.store(0, std::memory_order_relaxed);
      barrier_->meetings.store(meeting + 1, std::memory_order_release);
      return;
    }
    wait_until([&] { return barrier_->meetings.load(std::memory_order_acquire) != meeting; });
  }

  [[noreturn]] void abort(int status) override {
    MPI_Abort(world_, status);
    std::_Exit(status);
  }

  void library_sum(std::span<float> values, bool nonblocking) override {
    const int count = static_cast<int>(values.size());
    if (nonblocking) {
      MPI_Request request = MPI_REQUEST_NULL;
      MPI_Iallreduce(MPI_IN_PLACE, values.data(), count, MPI_FLOAT, MPI_SUM, world_, &request);
      MPI_Wait(&request, MPI_STATUS_IGNORE);  // as programs mostly wait: without giving up the core
    } else {
      MPI_Allreduce(MPI_IN_PLACE, values.data(), count, MPI_FLOAT, MPI_SUM, world_);
    }
  }

 private:
  /// Allocates the segments, at the end of which the first has the barrier. There are none where a host lacks the memory
  /// for it, such as a container with a small /dev/shm.
  void share_memory() {
    constexpr std::size_t of_host = std::size_t{16} << 20, least = std::size_t{1} << 18, most = std::size_t{4} << 20;
    constexpr std::size_t page = 4096;
    const std::size_t bytes = std::clamp(of_host / host_ranks_.size(), least, most) / page * page;
    void* base = nullptr;
    MPI_Comm_set_errhandler(host_, MPI_ERRORS_RETURN);
    const bool is_shared = MPI_Win_allocate_shared(static_cast<MPI_Aint>(bytes + page), 1, MPI_INFO_NULL, host_, &base,
                                                   &window_) == MPI_SUCCESS;
    MPI_Comm_set_errhandler(host_, MPI_ERRORS_ARE_FATAL);
    if (!is_shared) window_ = MPI_WIN_NULL;
    int on_all_hosts = is_shared ? 1 : 0;
    MPI_Allreduce(MPI_IN_PLACE, &on_all_hosts, 1, MPI_INT, MPI_MIN, world_);
    if (on_all_hosts == 0) return;
    for (int r = 0; r < static_cast<int>(host_ranks_.size()); ++r) {
      MPI_Aint size = 0;
      int unit = 0;
      MPI_Win_shared_query(window_, r, &size, &unit, &base);
      segments_.emplace_back(static_cast<std::byte*>(base), bytes);
    }
    void* const behind_the_first = segments_[0].data() + bytes;
    barrier_ =
        host_ranks_[0] == rank_ ? new (behind_the_first) HostBarrier{} : static_cast<HostBarrier*>(behind_the_first);
    MPI_Barrier(host_);
  }

  bool finalizes_;
  MPI_Comm world_ = MPI_COMM_NULL;
  MPI_Comm host_ = MPI_COMM_NULL;  ///< the processes on this host
  std::vector<int> host_ranks_;
  bool asked_for_memory_ = false;
  MPI_Win window_ = MPI_WIN_NULL;
  std::vector<std::span<std::byte>> segments_;
  HostBarrier* barrier_ = nullptr;
  int rank_ = 0, size_ = 1;
  std::vector<MPI_Request> requests_;
};

}  // namespace

std::unique_ptr<Transport> join_mpi() {
  int begun = 0, ended = 0;
  MPI_Initialized(&begun);
  MPI_Finalized(&ended);
  if (ended != 0) throw Error("MPI was finalised before: a program can join its processes once");
  int level = MPI_THREAD_SINGLE;
  if (begun == 0) {
    // UCX, which MPI may load now, replaces what SIGHUP does.
    struct sigaction hangup {};
    sigaction(SIGHUP, nullptr, &hangup);
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &level);
    sigaction(SIGHUP, &hangup, nullptr);
  } else {
    MPI_Query_thread(&level);
  }
  if (level < MPI_THREAD_FUNNELED) {
    throw Error("MPI is initialised for programs without threads; MPI_THREAD_FUNNELED or more is needed",
                ErrorCode::unsupported);
  }
  return std::make_unique<MpiTransport>(begun == 0);
}

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  // Open MPI writes "Open MPI v4.1.4, package: ...", MPICH "MPICH Version:      4.0.2\n...".
  const std::string_view all(text.data(), static_cast<std::size_t>(length));
  std::string version;
  for (const char c : all.substr(0, all.find_first_of(",\n"))) {
    const bool is_blank = c == ' ' || c == '\t';
    if (!is_blank || (!version.empty() && version.back() != ' ')) version += is_blank ? ' ' : c;
  }
  return version;
}

}  // namespace facet::comm
