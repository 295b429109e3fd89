#include "cli/manual.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "cli/terminal.h"

namespace facet::app {

Command overview() {
  Command overview;
  overview.usage = "COMMAND [options]";
  overview.summary = "train image classifiers with several heads on CPUs";
  overview.description =
      "Trains image classifiers that answer several questions at once (age, gender, race, or labels of your own) on "
      "CPUs. Photographs and a CSV of labels go in; a model, its accuracy and predictions for new photographs come "
      "out.";
  overview.groups = {{"Options",
                      {{.name = "help",
                        .argument = "",
                        .help = "show this page; after a command, show the manual of that command",
                        .value = Option::Value::none},
                       {.name = "version",
                        .argument = "",
                        .help = "show the version and the features of this build",
                        .value = Option::Value::none}}}};
  overview.examples = {{"draw a sample, train on it and evaluate the model",
                        "facet synth sample --train 2000 --validation 500 --size 64"},
                       {"",
                        "facet train --train sample/train.csv --validation sample/validation.csv --size 64 "
                        "\\\n      --epochs 10 --out runs/sample"},
                       {"", "facet evaluate runs/sample --data sample/validation.csv"},
                       {"classify photographs with the model", "facet predict runs/sample photo.jpg folder/"}};
  overview.exit_status = {
      {"75", "train, reproduce: stopped by SIGTERM, SIGHUP or SIGUSR1; everything is saved; run it again"},
      {"130", "train, reproduce: stopped by Ctrl-C (SIGINT); everything is saved"}};
  return overview;
}

std::vector<std::pair<std::string, std::string>> exit_statuses(const Command& command) {
  std::vector<std::pair<std::string, std::string>> all{{"0", "done"},
                                                       {"1", "failed; one line on standard error says why"},
                                                       {"2", "the command line or the config file is invalid"}};
  all.insert(all.end(), command.exit_status.begin(), command.exit_status.end());
  return all;
}

std::string term_of(const Option& option) {
  std::string term = "--" + option.name;
  if (option.value == Option::Value::optional) term += "[=" + option.argument + "]";
  if (option.value == Option::Value::one || option.value == Option::Value::many) term += " " + option.argument;
  return term;
}

std::string meaning_of(const Option& option) {
  std::string meaning = option.help;
  if (option.value == Option::Value::many) meaning += "; may be given several times";
  if (!option.fallback.empty()) meaning += fmt::format(" (default: {})", option.fallback);
  return meaning;
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

std::string page(const std::string& usage, const Command& command, const std::vector<Command>& commands) {
  std::string text = usage + "\n\n" + wrapped(command.description, 0, 0);
  if (!commands.empty()) text += "\nCommands:\n";
  for (const Command& each : commands) text += definition(each.name, each.summary);
  for (const OptionGroup& group : command.groups) {
    text += fmt::format("\n{}:\n", group.title);
    for (const Option& option : group.options) text += definition(term_of(option), meaning_of(option));
  }
  text += "\nExamples:\n";
  for (const auto& [purpose, line] : command.examples) {
    if (!purpose.empty()) text += "  # " + purpose + '\n';
    text += "  " + line + '\n';
  }
  text += "\nExit status:\n";
  for (const auto& [status, meaning] : exit_statuses(command)) text += definition(status, meaning);
  return text;
}

}  // namespace

std::string manual(const std::vector<Command>& commands) {
  return page("Usage: facet COMMAND [options]", overview(), commands);
}

std::string manual(const Command& command) {
  return page(fmt::format("Usage: facet {} {}", command.name, command.usage), command, {});
}

}  // namespace facet::app
