#pragma once

#include <exception>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cli/options.h"
#include "facet/process_group.h"

namespace facet::app {

/// A command of the program: its page of the manual and its function.
struct Command {
  std::string name;
  std::string summary;      ///< its line in `facet --help`
  std::string usage;        ///< the text after the command's name, such as "DIR [options]"
  std::string description;  ///< paragraphs, with a blank line between them
  std::vector<OptionGroup> groups;
  std::vector<std::pair<std::string, std::string>> examples;     ///< purpose and command line
  std::vector<std::pair<std::string, std::string>> exit_status;  ///< statuses other than 0, 1 and 2, and their meanings
  /// Whether it prints only its progress, while its results are files. Such a command succeeds even if standard output
  /// can't be written.
  bool prints_progress = false;
  /// Returns the exit status. @throws UsageError and Error.
  std::function<int(Options&)> run;
  /// In place of `run`, for a command that may run in several processes: it is called in each of them. The groups of
  /// options hold mpi_option().
  std::function<int(Options&, const ProcessGroup&)> run_on_ranks;
};

// Exit statuses.
inline constexpr int failed = 1;
inline constexpr int misused = 2;

/// The exit status of a command that has thrown this.
int exit_status_of(const std::exception_ptr& error);
/// Prints to standard error, in one line, what a command has failed with. Returns the exit status.
/// @param rank ProcessGroup::name of the only process that has failed; empty: there is one, or all have.
int report_failure(const std::exception_ptr& error, const std::string& command, const std::string& rank = "");

Command synth_command();
Command inspect_command();
Command summary_command();
Command tune_command();
Command train_command();
Command evaluate_command();
Command predict_command();
Command import_command();
Command export_command();
Command compare_command();
Command plan_cluster_command();
Command reproduce_command();
Command completion_command();
Command man_command();

/// All commands, in the order in which the manual lists them.
std::vector<Command> commands();

/// Prints no more than --quiet allows, where it is among the options.
void heed_quiet(const Command& command, const Options& options);

/// The only argument of a command. @throws UsageError when there is none or more than one.
/// @param what names the argument in messages.
const std::string& only_argument(const Options& options, const std::string& what);
/// @throws UsageError when a command that takes no arguments is given one.
void require_no_arguments(const Options& options);

/// The command `train` without its function.
Command train_manual();

}  // namespace facet::app
