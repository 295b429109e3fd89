#include <fmt/format.h>
#include <mpi.h>
#include <sched.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "comm/communicator.h"
#include "facet/error.h"

namespace facet::comm {
namespace {

using Clock = std::chrono::steady_clock;

/// Waits for requests. MPI's own functions keep a core busy while they wait, which takes it from the compute threads
/// of other ranks where these share cores, and from rank 0 while it times primitives.
void wait(std::span<MPI_Request> requests) {
  const Clock::time_point began = Clock::now();
  for (int done = 0;;) {
    MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
    if (done != 0) return;
    const auto waited = Clock::now() - began;
    if (waited > std::chrono::milliseconds(20)) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    } else if (waited > std::chrono::microseconds(50)) {
      sched_yield();
    }
  }
}

void wait(MPI_Request& request) { wait(std::span(&request, 1)); }

class MpiTransport final : public Transport {
 public:
  explicit MpiTransport(bool finalizes) : finalizes_(finalizes) {
    // A communicator of our own, so that messages of the program that links facet aren't mixed with ours.
    MPI_Comm_dup(MPI_COMM_WORLD, &world_);
    MPI_Comm_set_errhandler(world_, MPI_ERRORS_ARE_FATAL);
    MPI_Comm_rank(world_, &rank_);
    MPI_Comm_size(world_, &size_);
  }
  ~MpiTransport() override {
    int ended = 0;
    MPI_Finalized(&ended);
    if (ended != 0) return;
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
  bool finalizes_;
  MPI_Comm world_ = MPI_COMM_NULL;
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
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &level);
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
