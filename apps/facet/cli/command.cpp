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
    print_error("{}: {}\n", who, printable(text_of(found)));  // names of files may hold any character
  }
  return status;
}

std::vector<Command> commands() {
  std::vector<Command> all{synth_command(),   inspect_command(),      summary_command(),  train_command(),
                           import_command(),  evaluate_command(),     predict_command(),  export_command(),
                           compare_command(), plan_cluster_command(), reproduce_command()};
  for (Command& command : all) command.groups.push_back(general_options());
  return all;
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

namespace {

constexpr std::size_t page_width = 100;
constexpr std::size_t help_column = 30;

/// Wraps a text to lines of at most the page's width; lines after the first are indented.
std::string wrapped(const std::string& text, std::size_t first_column, std::size_t indent) {
  std::string page;
  std::size_t column = first_column;
  bool line_start = true;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find_first_of(" \n", begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (!line_start && column + 1 + display_width(word) > page_width) {
      page += '\n' + std::string(indent, ' ');
      column = indent;
      line_start = true;
    }
    if (!line_start) page += ' ';
    page += word;
    column += display_width(word) + (line_start ? 0 : 1);
    line_start = false;
    if (end < text.size() && text[end] == '\n') {
      page += '\n' + std::string(indent, ' ');
      column = indent;
      line_start = true;
    }
    begin = end + 1;
  }
  return page + '\n';
}

/// A term with its meaning beside it, or below it where the term is long.
std::string definition(const std::string& term, const std::string& meaning) {
  std::string text = "  " + term;
  if (text.size() + 2 > help_column) {
    text += '\n' + std::string(help_column, ' ');
  } else {
    text.resize(help_column, ' ');
  }
  return text + wrapped(meaning, help_column, help_column);
}

std::string option_lines(const Option& option) {
  std::string term = "--" + option.name;
  if (option.value == Option::Value::optional) term += "[=" + option.argument + "]";
  if (option.value == Option::Value::one || option.value == Option::Value::many) term += " " + option.argument;
  std::string meaning = option.help;
  if (option.value == Option::Value::many) meaning += "; may be given several times";
  if (!option.fallback.empty()) meaning += fmt::format(" (default: {})", option.fallback);
  return definition(term, meaning);
}

std::string example_lines(const std::vector<std::pair<std::string, std::string>>& examples) {
  std::string text = "\nExamples:\n";
  for (const auto& [purpose, line] : examples) {
    if (!purpose.empty()) text += "  # " + purpose + '\n';
    text += "  " + line + '\n';
  }
  return text;
}

std::string status_lines(const std::vector<std::pair<std::string, std::string>>& more) {
  std::string text = "\nExit status:\n";
  text += definition("0", "done");
  text += definition("1", "failed; one line on standard error says why");
  text += definition("2", "the command line or the config file is invalid");
  for (const auto& [status, meaning] : more) text += definition(status, meaning);
  return text;
}

}  // namespace

std::string manual(const std::vector<Command>& commands) {
  std::string text = "Usage: facet COMMAND [options]\n\n";
  text += wrapped(
      "Trains image classifiers that answer several questions at once (age, gender, race, or labels of your "
      "own) on CPUs. Photographs and a CSV of labels go in; a model, its accuracy and predictions for new "
      "photographs come out.",
      0, 0);
  text += "\nCommands:\n";
  for (const Command& command : commands) text += definition(command.name, command.summary);
  text += "\nOptions:\n";
  text += definition("--help", "show this page; after a command, show the manual of that command");
  text += definition("--version", "show the version and the features of this build");
  text += example_lines({{"draw a sample, train on it and evaluate the model",
                          "facet synth sample --train 2000 --validation 500 --size 64"},
                         {"",
                          "facet train --train sample/train.csv --validation sample/validation.csv --size 64 "
                          "\\\n      --epochs 10 --out runs/sample"},
                         {"", "facet evaluate runs/sample --data sample/validation.csv"},
                         {"classify photographs with the model", "facet predict runs/sample photo.jpg folder/"}});
  text += status_lines(
      {{"75", "train, reproduce: stopped by SIGTERM, SIGHUP or SIGUSR1; everything is saved; run it again"},
       {"130", "train, reproduce: stopped by Ctrl-C (SIGINT); everything is saved"}});
  return text;
}

std::string manual(const Command& command) {
  std::string text = fmt::format("Usage: facet {} {}\n\n", command.name, command.usage);
  text += wrapped(command.description, 0, 0);
  for (const OptionGroup& group : command.groups) {
    text += fmt::format("\n{}:\n", group.title);
    for (const Option& option : group.options) text += option_lines(option);
  }
  return text + example_lines(command.examples) + status_lines(command.exit_status);
}

}  // namespace facet::app
