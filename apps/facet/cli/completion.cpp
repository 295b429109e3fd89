#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/manual.h"

namespace facet::app {
namespace {

/// The values that an option allows, where they are few: those that its placeholder lists, such as "f32|bf16".
std::vector<std::string> values_of(const Option& option) {
  if (!option.choices.empty()) return option.choices;
  const auto is_of_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '|';
  };
  if (option.argument.empty() || !std::ranges::all_of(option.argument, is_of_word)) return {};
  std::vector<std::string> values;
  for (std::size_t begin = 0; begin <= option.argument.size();) {
    const std::size_t end = std::min(option.argument.find('|', begin), option.argument.size());
    values.push_back(option.argument.substr(begin, end - begin));
    begin = end + 1;
  }
  return values;
}

bool takes_file(const Option& option) {
  return option.argument == "FILE" || option.argument == "CSV" || option.argument == "DIR";
}

std::vector<std::string> names_of(const std::vector<Command>& commands) {
  std::vector<std::string> names;
  for (const Command& command : commands) names.push_back(command.name);
  return names;
}

std::vector<Option> options_of(const Command& command) {
  std::vector<Option> all;
  for (const OptionGroup& group : command.groups) {
    all.insert(all.end(), group.options.begin(), group.options.end());
  }
  return all;
}

/// The words that stand in place of files after a command.
std::vector<std::string> arguments_of(const Command& command, const std::vector<Command>& commands) {
  if (command.name == "completion") return {"bash", "zsh"};
  return command.name == "man" ? names_of(commands) : std::vector<std::string>();
}

/// A case of bash's function for one command: what may follow the word before, and the command's options.
std::string bash_case(const Command& command, const std::vector<Command>& commands) {
  std::string values, free, files;
  std::vector<std::string> options;
  for (const Option& option : options_of(command)) {
    const std::string name = "--" + option.name;
    options.push_back(name);
    if (option.value == Option::Value::none || option.value == Option::Value::optional) continue;
    if (const std::vector<std::string> allowed = values_of(option); !allowed.empty()) {
      values += fmt::format("        {}) words=\"{}\"; return ;;\n", name, fmt::join(allowed, " "));
    } else {
      std::string& names = takes_file(option) ? files : free;
      names += (names.empty() ? "" : "|") + name;
    }
  }
  if (!files.empty()) values += fmt::format("        {}) return ;;\n", files);
  if (!free.empty()) values += fmt::format("        {}) none=1; return ;;\n", free);
  std::string text = fmt::format("    {})\n", command.name);
  if (!values.empty()) text += fmt::format("      case $before in\n{}      esac\n", values);
  text += fmt::format("      options=\"{}\"\n", fmt::join(options, " "));
  if (const std::vector<std::string> words = arguments_of(command, commands); !words.empty()) {
    text += fmt::format("      words=\"{}\"\n", fmt::join(words, " "));
  }
  return text + "      ;;\n";
}

/// A text within single quotes, in which zsh's _arguments takes brackets and colons literally.
std::string zsh_text(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\'') {
      escaped += "'\\''";
    } else {
      if (c == '[' || c == ']' || c == ':' || c == '\\') escaped += '\\';
      escaped += c;
    }
  }
  return escaped;
}

/// The beginning of a help text, up to the first semicolon, colon or bracket.
std::string short_text(const std::string& text) { return text.substr(0, text.find_first_of(";:(\n")); }

std::string zsh_option(const Option& option) {
  const std::string help = zsh_text(short_text(option.help));
  if (option.value == Option::Value::none) return fmt::format("'--{}[{}]'", option.name, help);
  std::string values = " ";
  if (const std::vector<std::string> allowed = values_of(option); !allowed.empty()) {
    values = fmt::format("({})", fmt::join(allowed, " "));
  } else if (takes_file(option)) {
    values = "_files";
  }
  return fmt::format("'{}--{}={}[{}]{}{}:{}'", option.value == Option::Value::many ? "*" : "", option.name,
                     option.value == Option::Value::optional ? "-" : "", help,
                     option.value == Option::Value::optional ? "::" : ":", zsh_text(option.argument), values);
}

}  // namespace

std::string bash_completion(const std::vector<Command>& commands) {
  std::string cases;
  for (const Command& command : commands) cases += bash_case(command, commands);
  return fmt::format(R"(# Completion of facet's command lines in bash.

# Sets, for the command $1 and the word $2 before the one to complete: its options, the words that may stand there, and
# whether there is nothing to offer.
_facet_words() {{
  local before=$2
  case $1 in
{}  esac
}}

_facet() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
  # bash takes the = of --name=value as a word of its own.
  if [[ $current == "=" ]]; then
    current=
  elif [[ $before == "=" ]]; then
    before=${{COMP_WORDS[COMP_CWORD - 2]}}
  fi
  local options= words= none=
  if ((COMP_CWORD == 1)); then
    options="--help --version" words="{}"
  else
    _facet_words "${{COMP_WORDS[1]}}" "$before"
  fi
  COMPREPLY=()
  if [[ $current == -* && -n $options ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  elif [[ -n $words ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  fi
  if [[ -n $none || -n $words ]]; then compopt +o default; fi # no names of files
}}
complete -o default -F _facet facet
)",
                     cases, fmt::join(names_of(commands), " "));
}

std::string zsh_completion(const std::vector<Command>& commands) {
  std::string names, cases;
  for (const Command& command : commands) {
    names += fmt::format("    '{}:{}'\n", command.name, zsh_text(command.summary));
    cases += fmt::format("    {})\n      _arguments \\\n", command.name);
    for (const Option& option : options_of(command)) cases += fmt::format("        {} \\\n", zsh_option(option));
    const std::vector<std::string> words = arguments_of(command, commands);
    const std::string files = words.empty() ? "_files" : fmt::format("({})", fmt::join(words, " "));
    cases += fmt::format("        '*:argument:{}'\n      ;;\n", files);
  }
  return fmt::format(R"(#compdef facet
# Completion of facet's command lines in zsh.

_facet() {{
  local -a commands=(
{}  )
  if ((CURRENT == 2)); then
    _describe -t commands command commands
    _arguments '--help[show the manual]' '--version[show the version]'
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
{}  esac
}}

_facet "$@"
)",
                     names, cases);
}

}  // namespace facet::app
