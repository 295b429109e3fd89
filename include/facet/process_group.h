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
  /// Joins all processes that the launcher has started (MPI_COMM_WORLD). MPI is initialised unless the program has
  /// done so, and finalised when the last copy of the group is destroyed. Call it once in a program. Training exchanges
  /// gradients and weights in a thread of its own, also between two steps: a program that calls MPI itself must
  /// initialise it, with MPI_THREAD_MULTIPLE; with less, nothing is exchanged in the background.
  /// @throws Error when facet is built without MPI; when MPI was
  ///   finalised before, or initialised for a program without threads; or when the launcher has started several
  ///   processes and MPI connects none of them.
  static ProcessGroup join();

  int rank() const;
  /// Returns the number of processes.
  int size() const;
  /// Returns this process's number, from 0, among the processes of the group on its host.
  int local_rank() const;
  /// Returns the number of processes of the group on this process's host.
  int local_size() const;
  /// Returns the number of local processes, this one included, that may run on a core that this one may use. It is 1
  /// where the launcher has bound each process to cores of its own.
  int sharing_cores() const;
  /// Returns how messages call a process: "rank 1 (node03)".
  std::string name(int rank) const;
  /// Returns a group of the ranks below `ranks`, with the same numbers. On a process that isn't among them it is a
  /// group of this process alone. All ranks call it together, with the same number, while no Trainer or TrainingSession
  /// of this group trains. The two groups exchange nothing with each other. The new one must be destroyed before the
  /// last copy of the group that join() has returned.
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
