#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/options.h"
#include "facet/process_group.h"

namespace facet::app {

// How a command runs in the processes that mpirun or srun has started, its ranks.

Option mpi_option();
Option rank_timeout_option();
/// Seconds; 0: never. @throws UsageError
double read_rank_timeout(const Options& options);
/// Ends all ranks with the status StopSignal::requeue, and prints a line that names the lost ones, once nothing has
/// been heard of a rank for `timeout` seconds (ProcessGroup::watch). Prints a note where it can't.
void watch_ranks(const ProcessGroup& ranks, double timeout);
/// Whether this process joins others where --mpi has that value.
bool joins_ranks(const std::string& mpi);

/// Runs a command (Command::run_on_ranks) in all processes that the launcher has started, as --mpi among `words` says.
/// They are joined before the words are parsed, and none leaves before the others: a launcher ends all processes where
/// one has failed, and rank 0 may not have said why by then. Only rank 0 prints and draws. It also prints an error that
/// the ranks agree on (ProcessGroup::together). Another error is printed by the rank that has it, which ends all.
/// A signal that asks the program to stop ends each process until the command handles it (StopSignal).
/// @param wants_manual --help is among the words; where it is on one rank, the manual is all that is printed.
/// @return the exit status, the same on all ranks.
/// @throws Error when the processes can't be joined.
int run_on_ranks(const Command& command, const std::vector<std::string>& words, bool wants_manual);

/// Gives rank 0's options to all ranks, but those that are Option::of_process.
void share_options(Options& options, const ProcessGroup& ranks);

/// Calls a function on rank 0 alone. What it throws is thrown on all ranks.
void on_first(const ProcessGroup& ranks, const std::function<void()>& function);

/// Texts as one text, for ProcessGroup::broadcast, which unpacked() takes apart.
std::string packed(const std::vector<std::string>& texts);
std::vector<std::string> unpacked(const std::string& text);
/// The texts of all ranks one after another, by rank, on all ranks.
std::vector<std::string> gather_texts(const ProcessGroup& ranks, const std::vector<std::string>& texts);

}  // namespace facet::app
