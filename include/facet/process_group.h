#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "facet/export.h"

namespace facet {

namespace comm {
class Communicator;
}

/// The processes that train one model together, as a launcher (mpirun, srun) has started them, each with a rank from 0
/// on. All of them run the same program and call the same functions of this class, of a Trainer and of a
/// TrainingSession in the same order; each of these calls returns, or throws, on all ranks. By default a group is this
/// process alone.
///
/// Copies are the same group. Not thread-safe.
class FACET_EXPORT ProcessGroup {
 public:
  /// This process alone.
  ProcessGroup();
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&);
  ProcessGroup& operator=(const ProcessGroup&);

  /// Returns whether a launcher has started this process as one of several ranks: whether one of MPI's variables is set
  /// (OMPI_COMM_WORLD_RANK, PMI_RANK, PMIX_RANK) and none says that there is one rank alone (OMPI_COMM_WORLD_SIZE,
  /// PMI_SIZE, SLURM_STEP_NUM_TASKS), or whether srun has started several tasks.
  static bool is_launched();
  /// Joins all processes that the launcher has started (MPI_COMM_WORLD), and binds this one to its cores (bind()). MPI
  /// is initialised unless the program has done so, and finalised when the last copy of the group is destroyed. Call it
  /// once in a program, before other threads compute. Training exchanges gradients and weights in a thread of its own,
  /// also between two steps: a program that calls MPI itself must initialise it, with MPI_THREAD_MULTIPLE; with less,
  /// nothing is exchanged in the background.
  /// @throws Error when facet is built without MPI; when MPI was finalised before, or initialised for a program without
  ///   threads; or when the launcher has started several processes and MPI connects none of them.
  static ProcessGroup join();

  int rank() const;
  /// Returns the number of processes.
  int size() const;
  /// Returns this process's number, from 0, among the processes of the group on its host.
  int local_rank() const;
  /// Returns the number of processes of the group on this process's host.
  int local_size() const;
  /// Returns how many local processes, this one included, compute on this process's cores: 1 where each has cores of
  /// its own, unless a CPU quota allows the host's processes fewer than they have together.
  int sharing_cores() const;
  /// Binds all threads of this process, and those that they start later, to the cores that are its own in this group:
  /// those that the launcher has bound it to or, where that has given several processes of the host the same, its part
  /// of them by local rank. Has no effect where OpenMP binds threads (see leave_openmp_place()). join() calls it; a
  /// program that computes in groups of several sizes (first()) calls it for the one that is to compute next.
  void bind() const;
  /// Returns the number of processes, their hosts and cores: "4 on 1 host, 8 cores each, divided by local rank: CPUs
  /// 0-7; 8-15; 16-23; 24-31". All processes call it together.
  std::string placement() const;
  /// Returns what makes training slow in the placement that placement() tells of, in a sentence for each kind of
  /// problem, with the launcher's flags that avoid it: processes on the same cores, or on half of their host's or less.
  /// Nothing for a process that no launcher has started, nor where the launcher has started more processes than this
  /// group has, since the others need cores, too. All processes call it together.
  /// @param threads see TrainOptions::threads.
  std::vector<std::string> placement_problems(int threads) const;
  /// Returns how messages call a process: "rank 1 (node03)".
  std::string name(int rank) const;
  /// Returns a group of the ranks below `ranks`, with the same numbers. On a process that isn't among them it is a
  /// group of this process alone. All ranks call it together, with the same number, while no Trainer or TrainingSession
  /// of this group trains. The two groups exchange nothing with each other. The new one divides cores among its own
  /// processes, which bind() then binds to them. It must be destroyed before the last copy of the group that join() has
  /// returned.
  /// @throws Error unless 1 <= ranks <= size().
  ProcessGroup first(int ranks) const;

  /// Calls `function` on each rank. If it throws on one, this throws on all: on the lowest of the ranks that failed its
  /// own exception, on the others an Error of the same code whose message begins with that rank's name. If it throws on
  /// all ranks, each throws its own.
  void together(const std::function<void()>& function) const;
  /// Returns rank 0's text on all ranks.
  std::string broadcast(std::string text) const;
  /// Returns the texts of all ranks, by rank, on all ranks.
  std::vector<std::string> gather(const std::string& text) const;
  /// Returns the greatest of the ranks' values on all ranks.
  std::int64_t max(std::int64_t value) const;
  /// Ends all processes of the group when one of them is lost: when it has been killed or stopped, or its network has
  /// failed, so that nothing has been heard of it for `timeout` seconds (0: never; less than 0.2 counts as 0.2). From
  /// then on until the last copy of the group is destroyed, a thread of each rank sends heartbeats, ten or more in that
  /// time: to the others of its host and, on the first rank of a host, to those of the other hosts. What the rank's
  /// other threads do meanwhile may take as long as it likes. Time in which this process is stopped itself doesn't
  /// count, so that ranks that are all stopped and continued together lose nobody.
  ///
  /// Then `on_lost` is called, on that thread, with the names of the lost ranks; it is to print them, within a second.
  /// Of a host that is lost as a whole, the first rank is named. The names are empty where all ranks have come to their
  /// end, but MPI hasn't ended within the timeout or 30 seconds, the longer of them, as a rank was lost then. After it
  /// all processes end with this exit status, those of the lost ranks by the launcher. Usually one rank does all this;
  /// where it can't reach others, these do so too, within twice the timeout. `on_lost` may hold no copy of the group.
  ///
  /// All ranks call this once, together, with the same timeout, while no Trainer or TrainingSession of this group
  /// trains. A group that first() returns isn't watched. A program that finalises MPI itself must destroy the group
  /// before: the heartbeats call MPI until then.
  /// @return whether the ranks are watched: false where the timeout is 0, where this process is alone, and where the
  ///   group doesn't communicate in the background (see join()).
  /// @throws Error where the timeout is negative or not finite, or the group is watched already.
  bool watch(double timeout, int status,
             const std::function<void(const std::vector<std::string>& lost)>& on_lost) const;
  /// Ends all processes of the group at once, with this exit status: for a failure that together() doesn't see.
  [[noreturn]] void abort(int status) const;
  /// Returns whether the last exchange threw on all ranks, so that an exception that is on its way is known to all.
  bool has_failed() const;

  FACET_NO_EXPORT comm::Communicator& communicator() const { return *communicator_; }

  FACET_NO_EXPORT explicit ProcessGroup(std::shared_ptr<comm::Communicator> communicator);

 private:
  std::shared_ptr<comm::Communicator> communicator_;
};

}  // namespace facet
