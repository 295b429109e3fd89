#include "command.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/text.h"
#include "facet/error.h"

namespace facet::app {
namespace {

/// The options that every command has.
OptionGroup general_options() {
  return {
      "General",
      {{.name = "config",
        .argument = "FILE",
        .help =
            "take options from a file of lines 'name = value' (names without the dashes, # begins a comment; a value "
            "that begins with ./ is a path from the file's folder); the command line wins (--NAME=no undoes a "
            "switch)"},
       {.name = "help", .argument = "", .help = "show this page", .value = Option::Value::none}}};
}

/// Errors as a terminal can show them, whatever names they hold; the standard library's tell the file first.
std::function<int(Options&)> with_printable_errors(std::function<int(Options&)> run) {
  return [run = std::move(run)](Options& options) {
    try {
      return run(options);
    } catch (const std::filesystem::filesystem_error& error) {
      const std::string file = error.path1().string();
      throw Error(base::printable(fmt::format("{}{}{}", file, file.empty() ? "" : ": ", error.code().message())));
    } catch (const Error& error) {
      throw Error(base::printable(error.what()));
    }
  };
}

}  // namespace

std::vector<Command> commands() {
  std::vector<Command> all{synth_command(),   inspect_command(),  summary_command(), train_command(),
                           import_command(),  evaluate_command(), predict_command(), export_command(),
                           compare_command(), reproduce_command()};
  for (Command& command : all) {
    command.groups.push_back(general_options());
    command.run = with_printable_errors(std::move(command.run));
  }
  return all;
}

const std::string& only_argument(const Options& options, const std::string& what) {
  if (options.arguments().empty()) throw UsageError(what + " is needed");
  if (options.arguments().size() > 1) {
    throw UsageError(fmt::format("'{}' is one word too many: only {} is taken", options.arguments()[1], what));
  }
  return options.arguments().front();
}

void require_no_arguments(const Options& options) {
  if (!options.arguments().empty()) {
    throw UsageError(fmt::format("'{}' is no option: options begin with --", options.arguments().front()));
  }
}

}  // namespace facet::app
