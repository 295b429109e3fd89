#include "comm/heartbeat.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

namespace facet::comm {
namespace {

using Clock = Silence::Clock;

constexpr char alive = 1, last = 2;                              // what a heartbeat says
constexpr Silence::Seconds shortest_grace{1}, longest_grace{5};  // for on_lost and MPI_Abort
constexpr Silence::Seconds shortest_end{30};                     // of MPI, which frees what it has on a busy machine
/// For the launcher to pass on what has been printed: MPICH's drops the rest.
constexpr Silence::Seconds forwarding{0.2};

}  // namespace

void end_process_after(Silence::Seconds time, int status) {
  try {
    std::thread([=] {
      std::this_thread::sleep_for(time);
      _exit(status);
    }).detach();
  } catch (const std::system_error&) {  // no further thread can be had
  }
}

void abort_mpi(MPI_Comm communicator, std::timed_mutex& mpi, int status) {
  std::this_thread::sleep_for(forwarding);
  const std::unique_lock lock(mpi, std::chrono::milliseconds(100));
  MPI_Abort(communicator, status);
  _exit(status);
}

Heartbeat::Heartbeat(MPI_Comm world, std::vector<int> hosts, int rank, std::timed_mutex& mpi, Silence::Seconds timeout,
                     int status, OnLost on_lost)
    : mpi_(mpi),
      rank_(rank),
      timeout_(timeout),
      status_(status),
      on_lost_(std::move(on_lost)),
      watched_(watched_ranks(hosts, rank)),
      links_(hosts.size()),
      silence_(std::move(hosts), rank, timeout, Clock::now()) {
  {
    const std::lock_guard lock(mpi_);
    MPI_Comm_dup(world, &communicator_);
    MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN);
  }
  thread_ = std::jthread([this] { work(); });
}

Heartbeat::~Heartbeat() {
  const std::lock_guard lock(mutex_);
  phase_ = Phase::ended;
  changed_.notify_all();
}

void Heartbeat::leave() {
  {
    std::unique_lock lock(mutex_);
    phase_ = Phase::leaving;
    changed_.notify_all();
    changed_.wait(lock, [&] { return phase_ == Phase::left; });
  }
  const std::lock_guard lock(mpi_);
  MPI_Comm_free(&communicator_);
}

void Heartbeat::work() {
  constexpr Silence::Seconds pause{0.001};  // between two looks at who has left
  std::unique_lock lock(mutex_);
  while (phase_ != Phase::left) {
    const Phase before = phase_;
    changed_.wait_for(lock, before == Phase::running ? silence_.period() : pause, [&] { return phase_ != before; });
    if (phase_ == Phase::ended) return;
    const bool is_leaving = phase_ == Phase::leaving;
    lock.unlock();
    silence_.pass(Clock::now());
    const bool are_through = exchange(is_leaving);
    if (const std::vector<int> lost = silence_.lost(); !lost.empty()) end_run(lost);
    lock.lock();
    if (are_through) phase_ = Phase::left;
  }
  changed_.notify_all();
  watch_end(lock);
}

void Heartbeat::watch_end(std::unique_lock<std::mutex>& lock) {
  // The end of MPI is in the place of a further rank, behind the others, which all wait for.
  Silence end(std::vector<int>(links_.size() + 1, 0), rank_, std::max(timeout_, shortest_end), Clock::now());
  for (int r = 0; r < static_cast<int>(links_.size()); ++r) end.left(r);
  while (!changed_.wait_for(lock, end.period(), [&] { return phase_ == Phase::ended; })) {
    end.pass(Clock::now());
    if (!end.lost().empty()) end_run({});
  }
}

bool Heartbeat::exchange(bool is_leaving) {
  const std::unique_lock lock(mpi_, silence_.period());
  if (!lock.owns_lock()) return false;
  bool are_through = is_leaving;
  for (const int rank : watched_) {
    Link& link = links_[static_cast<std::size_t>(rank)];
    if (!link.has_failed && !(receive(rank, link) && send(rank, link, is_leaving))) {
      link.has_failed = true;
      if (link.has_received_last) silence_.heard(rank);  // it is lost as if it were still expected to send
    }
    const bool is_through =
        !link.has_failed && link.has_received_last && link.has_sent_last && link.sending == MPI_REQUEST_NULL;
    if (is_through) silence_.left(rank);
    are_through = are_through && is_through;
  }
  return are_through;
}

bool Heartbeat::receive(int rank, Link& link) {
  while (!link.has_received_last) {
    if (link.receiving == MPI_REQUEST_NULL &&
        MPI_Irecv(&link.received, 1, MPI_CHAR, rank, 0, communicator_, &link.receiving) != MPI_SUCCESS) {
      return false;
    }
    int is_here = 0;
    if (MPI_Test(&link.receiving, &is_here, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
    if (is_here == 0) return true;
    silence_.heard(rank);
    link.has_received_last = link.received == last;
    if (link.has_received_last) silence_.left(rank);
  }
  return true;
}

bool Heartbeat::send(int rank, Link& link, bool is_leaving) {
  int is_taken = 0;
  if (MPI_Test(&link.sending, &is_taken, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
  if (is_taken == 0 || link.has_sent_last) return true;
  if (is_leaving) silence_.heard(rank);  // it is to take the last one within the timeout, whether it has left or not
  link.has_sent_last = is_leaving;
  link.sent = is_leaving ? last : alive;
  return MPI_Isend(&link.sent, 1, MPI_CHAR, rank, 0, communicator_, &link.sending) == MPI_SUCCESS;
}

void Heartbeat::end_run(const std::vector<int>& lost) {
  end_process_after(std::clamp(timeout_ / 2, shortest_grace, longest_grace), status_);
  try {
    on_lost_(lost);
  } catch (...) {  // the run ends all the same
  }
  abort_mpi(MPI_COMM_WORLD, mpi_, status_);
}

}  // namespace facet::comm
