#include "cli/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <new>

#include "cli/terminal.h"
#include "facet/text.h"

namespace facet::app {

namespace {

/// The options that every command has.
OptionGroup general_options() {
  return {"General",
          {{.name = "config",
            .argument = "FILE",
            .help = "take options from a file of lines 'name = value' (names without the dashes; # begins a comment; a "
                    "value that begins with ./ is a path relative to the file's folder); options on the command line "
                    "take precedence (--NAME=no undoes a switch)"},
           {.name = "quiet",
            .argument = "",
            .help = "print results and errors only, no progress and no remarks",
            .value = Option::Value::none,
            .of_process = true},
           {.name = "help", .argument = "", .help = "show this page", .value = Option::Value::none}}};
}

/// What an error says. The standard library's file system errors get the form "FILE: REASON".
std::string text_of(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return "out of memory";
  const auto* const of_files = dynamic_cast<const std::filesystem::filesystem_error*>(&error);
  if (of_files == nullptr) return error.what();
  const std::string file = of_files->path1().string();
  return fmt::format("{}{}{}", file, file.empty() ? "" : ": ", of_files->code().message());
}

}  // namespace

int exit_status_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const UsageError&) {
    return misused;
  } catch (...) {
    return failed;
  }
}

int report_failure(const std::exception_ptr& error, const std::string& command, const std::string& rank) {
  const int status = exit_status_of(error);
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& found) {
    const std::string who = (status == misused ? "facet " + command : "facet") + (rank.empty() ? "" : ": " + rank);
    print_error("{} {}\n", styled(Style::failure, who + ":", stderr),
                printable(text_of(found)));  // names of files may hold any character
  }
  return status;
}

std::vector<Command> commands() {
  std::vector<Command> all{synth_command(),      inspect_command(), summary_command(),      tune_command(),
                           train_command(),      import_command(),  evaluate_command(),     predict_command(),
                           export_command(),     compare_command(), plan_cluster_command(), reproduce_command(),
                           completion_command(), man_command()};
  for (Command& command : all) command.groups.push_back(general_options());
  return all;
}

void heed_quiet(const Command& command, const Options& options) {
  if (!options.on("quiet")) return;
  command.prints_progress ? silence_output() : hide_progress();
}

const std::string& only_argument(const Options& options, const std::string& what) {
  if (options.arguments().empty()) throw UsageError(what + " is needed");
  if (options.arguments().size() > 1) {
    throw UsageError(fmt::format("unexpected argument '{}': only {} is allowed", options.arguments()[1], what));
  }
  return options.arguments().front();
}

void require_no_arguments(const Options& options) {
  if (!options.arguments().empty()) {
    throw UsageError(fmt::format("'{}' is not an option: options begin with --", options.arguments().front()));
  }
}

}  // namespace facet::app
