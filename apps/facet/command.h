#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "options.h"

namespace facet::app {

/// What the program can be asked to do: its page of the manual and its function.
struct Command {
  std::string name;
  std::string summary;      ///< a line of `facet --help`
  std::string usage;        ///< what follows the name: "DIR [options]"
  std::string description;  ///< paragraphs, with a blank line between them
  std::vector<OptionGroup> groups;
  std::vector<std::pair<std::string, std::string>> examples;     ///< what for, and the command line
  std::vector<std::pair<std::string, std::string>> exit_status;  ///< beyond 0, 1 and 2
  /// What it prints tells of work whose results are files: where it can't be printed, the work counts all the same.
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

/// All of them, in the order in which one meets them.
std::vector<Command> commands();

/// The one word that a command is given. @throws UsageError when there is none or another.
const std::string& only_argument(const Options& options, const std::string& what);
/// @throws UsageError when a command that takes no words is given one.
void require_no_arguments(const Options& options);

}  // namespace facet::app
