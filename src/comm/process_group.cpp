#include "facet/process_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

#include "base/cpus.h"
#include "comm/communicator.h"
#include "comm/placement.h"
#include "facet/error.h"

namespace facet {
namespace {

/// The number of processes that the launcher says to have started; nothing where it doesn't say it.
std::optional<int> launched_processes() {
  std::optional<int> processes;
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    const char* const value = std::getenv(name);
    if (value == nullptr) continue;
    const std::string_view text(value);
    int found = 1;
    std::from_chars(text.data(), text.data() + text.size(), found);
    processes = std::max(processes.value_or(1), found);
  }
  return processes;
}

}  // namespace

ProcessGroup::ProcessGroup() : ProcessGroup(std::make_shared<comm::Communicator>()) {}
ProcessGroup::ProcessGroup(std::shared_ptr<comm::Communicator> communicator) : communicator_(std::move(communicator)) {}
ProcessGroup::~ProcessGroup() = default;
ProcessGroup::ProcessGroup(const ProcessGroup&) = default;
ProcessGroup& ProcessGroup::operator=(const ProcessGroup&) = default;

bool ProcessGroup::is_launched() {
  if (const std::optional<int> processes = launched_processes()) return *processes > 1;
  return std::ranges::any_of(std::initializer_list<const char*>{"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"},
                             [](const char* name) { return std::getenv(name) != nullptr; });
}

ProcessGroup ProcessGroup::join() {
  const int launched = launched_processes().value_or(1);
  auto communicator = std::make_shared<comm::Communicator>(comm::join_mpi());
  if (communicator->is_alone() && launched > 1) {
    throw Error(fmt::format("the launcher has started {} processes, and MPI connects none of them: start facet by the "
                            "mpirun of the MPI that it is built with ({}), or by srun --mpi=pmix",
                            launched, comm::mpi_version()),
                ErrorCode::unsupported);
  }
  communicator->bind();
  return ProcessGroup(std::move(communicator));
}

int ProcessGroup::rank() const { return communicator_->rank(); }
int ProcessGroup::size() const { return communicator_->size(); }
int ProcessGroup::local_rank() const { return communicator_->local_rank(); }
int ProcessGroup::local_size() const { return communicator_->local_size(); }
int ProcessGroup::sharing_cores() const { return communicator_->sharing_cores(); }
void ProcessGroup::bind() const { communicator_->bind(); }
std::string ProcessGroup::placement() const { return comm::describe(communicator_->placed_ranks()); }
std::vector<std::string> ProcessGroup::placement_problems(int threads) const {
  if (launched_processes().value_or(1) > size()) return {};
  const comm::Launcher launcher = comm::launcher_of_environment();
  return comm::placement_problems(communicator_->placed_ranks(), launcher, base::resolve_threads(threads, 0));
}
std::string ProcessGroup::name(int rank) const { return communicator_->name(rank); }
ProcessGroup ProcessGroup::first(int ranks) const { return ProcessGroup(communicator_->first(ranks)); }

void ProcessGroup::together(const std::function<void()>& function) const { communicator_->together(function); }

std::string ProcessGroup::broadcast(std::string text) const {
  communicator_->broadcast(text);
  return text;
}

std::vector<std::string> ProcessGroup::gather(const std::string& text) const { return communicator_->gather(text); }
std::int64_t ProcessGroup::max(std::int64_t value) const { return communicator_->max(value); }
bool ProcessGroup::watch(double timeout, int status,
                         const std::function<void(const std::vector<std::string>& lost)>& on_lost) const {
  return communicator_->watch(timeout, status, on_lost);
}
void ProcessGroup::abort(int status) const { communicator_->abort(status); }
bool ProcessGroup::has_failed() const { return communicator_->has_failed(); }

}  // namespace facet
