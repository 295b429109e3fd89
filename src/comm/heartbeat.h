#pragma once

#include <mpi.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "comm/silence.h"

namespace facet::comm {

/// Ends this process with this exit status when that time has passed: MPI_Abort may wait for a process or a daemon that
/// is lost.
void end_process_after(Silence::Seconds time, int status);
/// Ends all processes by MPI_Abort, while it holds `mpi` if it gets it soon: a thread that has it may wait for a rank
/// that is lost.
[[noreturn]] void abort_mpi(MPI_Comm communicator, std::timed_mutex& mpi, int status);

/// A thread that tells other ranks that this process runs, hears the same of them, and ends the run when one is lost.
/// It depends on nothing that the other threads do, but for `mpi`, which they hold for short calls only.
class Heartbeat {
 public:
  using OnLost = std::function<void(const std::vector<int>& lost)>;

  /// All processes of `world` call it.
  /// @param hosts, rank, timeout see Silence. @param mpi is held while MPI is called. @param status, on_lost see
  /// ProcessGroup::watch.
  Heartbeat(MPI_Comm world, std::vector<int> hosts, int rank, std::timed_mutex& mpi, Silence::Seconds timeout,
            int status, OnLost on_lost);
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  /// Returns when the watched ranks have called it, after which the thread doesn't call MPI. What the process still has
  /// to do before this object is destroyed, such as MPI_Finalize, may take the timeout or 30 s, the longer of them. All
  /// ranks must be about to call it.
  void leave();

 private:
  enum class Phase : std::uint8_t { running, leaving, left, ended };

  /// What is on its way to another rank and from it.
  struct Link {
    MPI_Request sending = MPI_REQUEST_NULL, receiving = MPI_REQUEST_NULL;
    char sent = 0, received = 0;
    bool has_sent_last = false, has_received_last = false;
    bool has_failed = false;  ///< MPI has reported an error: the rank stays silent
  };

  void work();
  /// Waits for the end of MPI. `lock` holds `mutex_`.
  void watch_end(std::unique_lock<std::mutex>& lock);
  /// Receives what has come, and sends a heartbeat, or the last one if `is_leaving`, to each rank that has taken the
  /// one before. Returns whether all have sent and taken the last one.
  bool exchange(bool is_leaving);
  // Return false where MPI reports an error.
  bool receive(int rank, Link& link);
  bool send(int rank, Link& link, bool is_leaving);
  [[noreturn]] void end_run(const std::vector<int>& lost);

  std::timed_mutex& mpi_;
  int rank_;
  Silence::Seconds timeout_;
  int status_;
  OnLost on_lost_;
  MPI_Comm communicator_ = MPI_COMM_NULL;
  std::vector<int> watched_;
  std::vector<Link> links_;  ///< by rank
  Silence silence_;

  std::mutex mutex_;
  std::condition_variable changed_;  ///< the phase
  Phase phase_ = Phase::running;
  std::jthread thread_;
};

}  // namespace facet::comm
