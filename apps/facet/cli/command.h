#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cli/options.h"

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
};

Command synth_command();
Command inspect_command();
Command summary_command();
Command train_command();
Command evaluate_command();
Command predict_command();
Command import_command();
Command export_command();
Command compare_command();
Command reproduce_command();

/// All commands, in the order in which the manual lists them.
std::vector<Command> commands();

/// The only argument of a command. @throws UsageError when there is none or more than one.
/// @param what names the argument in messages.
const std::string& only_argument(const Options& options, const std::string& what);
/// @throws UsageError when a command that takes no arguments is given one.
void require_no_arguments(const Options& options);

/// The page that `facet --help` prints.
std::string manual(const std::vector<Command>& commands);

/// The page that `facet COMMAND --help` prints.
std::string manual(const Command& command);

/// The command `train` without its function.
Command train_manual();

}  // namespace facet::app
