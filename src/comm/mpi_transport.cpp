#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <new>
#include <optional>
#include <string_view>

#include "comm/communicator.h"
#include "comm/heartbeat.h"
#include "comm/wait.h"
#include "facet/error.h"

namespace facet::comm {
namespace {

/// Where the processes of a host meet, in shared memory. Zeros at the beginning.
struct HostBarrier {
  std::atomic<std::uint32_t> arrived, meetings;
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
};

class MpiTransport final : public Transport {
 public:
  /// @param world the processes to be connected, of which each calls this.
  MpiTransport(MPI_Comm world, bool finalizes, bool has_background)
      : finalizes_(finalizes), has_background_(has_background) {
    // Communicators of our own, so that messages of the program that links facet aren't mixed with ours.
    for (MPI_Comm* const communicator : {&world_, &background_}) {
      MPI_Comm_dup(world, communicator);
      MPI_Comm_set_errhandler(*communicator, MPI_ERRORS_ARE_FATAL);
    }
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
    meet();  // what follows waits for all processes with the lock held, which keeps heartbeats from being sent
    if (heartbeat_) heartbeat_->leave();
    const std::lock_guard lock(mutex_);
    if (window_ != MPI_WIN_NULL) MPI_Win_free(&window_);
    MPI_Comm_free(&host_);
    MPI_Comm_free(&background_);
    MPI_Comm_free(&world_);
    if (finalizes_) MPI_Finalize();
  }
  MpiTransport(const MpiTransport&) = delete;
  MpiTransport& operator=(const MpiTransport&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::unique_ptr<Transport> first(int ranks) override {
    meet();
    const std::lock_guard lock(mutex_);
    MPI_Comm part = MPI_COMM_NULL;
    MPI_Comm_split(world_, rank_ < ranks ? 0 : MPI_UNDEFINED, rank_, &part);
    if (part == MPI_COMM_NULL) return nullptr;
    auto connected = std::make_unique<MpiTransport>(part, false, has_background_);
    MPI_Comm_free(&part);
    return connected;
  }

  void all_gather(std::span<const std::byte> own, std::span<std::byte> all) override { gather_over(world_, own, all); }

  void broadcast(std::span<std::byte> bytes, int root) override {
    requests_.assign(1, MPI_REQUEST_NULL);
    {
      const std::lock_guard lock(mutex_);
      MPI_Ibcast(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, root, world_, requests_.data());
    }
    wait(requests_);
  }

  bool has_background() const override { return has_background_; }

  void exchange(std::span<const std::span<const std::byte>> sent, std::span<const std::span<std::byte>> received,
                Channel channel) override {
    constexpr int tag = 0;
    const bool is_background = channel == Channel::background;
    const MPI_Comm communicator = is_background ? background_ : world_;
    std::vector<MPI_Request>& requests = is_background ? background_requests_ : requests_;
    requests.clear();
    {
      const std::lock_guard lock(mutex_);
      for (int r = 0; r < size_; ++r) {
        const std::span<std::byte> bytes = received[static_cast<std::size_t>(r)];
        if (r == rank_ || bytes.empty()) continue;
        MPI_Irecv(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, r, tag, communicator,
                  &requests.emplace_back());
      }
      for (int i = 1; i < size_; ++i) {
        const int r = (rank_ + i) % size_;  // not all to the same one first
        const std::span<const std::byte> bytes = sent[static_cast<std::size_t>(r)];
        if (bytes.empty()) continue;
        MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, r, tag, communicator,
                  &requests.emplace_back());
      }
    }
    wait(requests, is_background ? background_patience : training_patience);
  }

  std::span<const int> host_ranks() const override { return host_ranks_; }

  std::span<const std::span<std::byte>> shared_segments() override {
    if (!asked_for_memory_) share_memory();
    asked_for_memory_ = true;
    return segments_;
  }

  std::vector<base::PageBuffer> map_host(const base::PageBuffer& own) override {
    const base::PageBuffer::Place place = own.place();
    std::vector<base::PageBuffer::Place> places(host_ranks_.size());
    gather_over(host_, std::as_bytes(std::span(&place, 1)), std::as_writable_bytes(std::span(places)));
    std::vector<base::PageBuffer> mapped;
    for (const base::PageBuffer::Place& each : places) mapped.push_back(base::PageBuffer::open(each));
    return mapped;
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

  bool watch(double timeout, int status, std::function<void(const std::vector<int>&)> on_lost) override {
    if (!has_background_) return false;
    const int first = host_ranks_.front();
    std::vector<int> hosts(static_cast<std::size_t>(size_));
    gather_over(world_, std::as_bytes(std::span(&first, 1)), std::as_writable_bytes(std::span(hosts)));
    heartbeat_.emplace(world_, std::move(hosts), rank_, mutex_, Silence::Seconds(timeout), status, std::move(on_lost));
    return true;
  }

  [[noreturn]] void abort(int status) override {
    end_process_after(Silence::Seconds(5), status);
    abort_mpi(world_, mutex_, status);
  }

  void library_sum(std::span<float> values, bool nonblocking) override {
    const std::lock_guard lock(mutex_);
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
  /// Returns when all processes have called it.
  void meet() {
    requests_.assign(1, MPI_REQUEST_NULL);
    {
      const std::lock_guard lock(mutex_);
      MPI_Ibarrier(world_, requests_.data());
    }
    wait(requests_);
  }

  /// The processes of `communicator` have as many bytes each.
  void gather_over(MPI_Comm communicator, std::span<const std::byte> own, std::span<std::byte> all) {
    const int bytes = static_cast<int>(own.size());
    requests_.assign(1, MPI_REQUEST_NULL);
    {
      const std::lock_guard lock(mutex_);
      MPI_Iallgather(own.data(), bytes, MPI_BYTE, all.data(), bytes, MPI_BYTE, communicator, requests_.data());
    }
    wait(requests_);
  }

  void wait(std::vector<MPI_Request>& requests, std::chrono::microseconds patience = training_patience) {
    wait_until(
        [&] {
          const std::lock_guard lock(mutex_);
          int done = 0;
          MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
          return done != 0;
        },
        patience);
  }

  /// Allocates the segments, at the end of which the first has the barrier. There are none where a host lacks the
  /// memory for it, such as a container with a small /dev/shm.
  void share_memory() {
    constexpr std::size_t of_host = std::size_t{16} << 20, least = std::size_t{1} << 18, most = std::size_t{4} << 20;
    constexpr std::size_t page = 4096;
    const std::size_t bytes = std::clamp(of_host / host_ranks_.size(), least, most) / page * page;
    meet();
    const std::lock_guard lock(mutex_);
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

  bool finalizes_, has_background_;
  inline static std::timed_mutex mutex_;  ///< MPI is called by one thread at a time, whichever processes it connects
  MPI_Comm world_ = MPI_COMM_NULL, background_ = MPI_COMM_NULL;
  MPI_Comm host_ = MPI_COMM_NULL;  ///< the processes on this host
  std::vector<int> host_ranks_;
  bool asked_for_memory_ = false;
  MPI_Win window_ = MPI_WIN_NULL;
  std::vector<std::span<std::byte>> segments_;
  HostBarrier* barrier_ = nullptr;
  int rank_ = 0, size_ = 1;
  std::vector<MPI_Request> requests_, background_requests_;
  std::optional<Heartbeat> heartbeat_;
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
  // A program that has initialised MPI may call it at any time, from another thread than ours.
  const bool has_background = level >= (begun == 0 ? MPI_THREAD_SERIALIZED : MPI_THREAD_MULTIPLE);
  return std::make_unique<MpiTransport>(MPI_COMM_WORLD, begun == 0, has_background);
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
