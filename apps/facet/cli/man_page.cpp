#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "cli/manual.h"
#include "facet/platform.h"

namespace facet::app {
namespace {

/// A text as man shows it unchanged: backslashes and hyphens are escaped, and so is what begins a line.
std::string plain(std::string_view text) {
  std::string escaped;
  bool begins = true;
  for (const char c : text) {
    if (begins && (c == '.' || c == '\'')) escaped += "\\&";
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c;
    }
    begins = c == '\n';
  }
  return escaped;
}

std::string bold(std::string_view text) { return "\\fB" + plain(text) + "\\fR"; }

/// Paragraphs with a blank line between them.
std::string paragraphs(const std::string& text) {
  std::string page;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find("\n\n", begin), text.size());
    page += (page.empty() ? "" : ".PP\n") + plain(text.substr(begin, end - begin)) + '\n';
    begin = end + 2;
  }
  return page;
}

std::string man_definition(const std::string& term, const std::string& meaning) {
  return fmt::format(".TP\n{}\n{}\n", bold(term), plain(meaning));
}

std::string capitals(std::string text) {
  for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return text;
}

/// @param name "facet" or "facet-COMMAND". @param commands those that the page lists, which are pages of their own.
std::string man_text(const std::string& name, const Command& command, const std::vector<Command>& commands) {
  std::string text = fmt::format(".TH {} 1 \"\" \"facet {}\"\n", plain(capitals(name)), version());
  text += fmt::format(".SH NAME\n{} \\- {}\n", plain(name), plain(command.summary));
  text += fmt::format(".SH SYNOPSIS\n{} {}\n", bold(command.name.empty() ? "facet" : "facet " + command.name),
                      plain(command.usage));
  text += ".SH DESCRIPTION\n" + paragraphs(command.description);
  if (!commands.empty()) text += ".SH COMMANDS\n";
  for (const Command& each : commands) text += man_definition(each.name, each.summary);
  for (const OptionGroup& group : command.groups) {
    text += fmt::format(".SH {}\n", plain(capitals(group.title)));
    for (const Option& option : group.options) text += man_definition(term_of(option), meaning_of(option));
  }
  text += ".SH EXAMPLES\n";
  for (const auto& [purpose, line] : command.examples) {
    if (!purpose.empty()) text += plain("# " + purpose) + "\n.br\n";
    text += ".nf\n" + plain(line) + "\n.fi\n";
  }
  text += ".SH EXIT STATUS\n";
  for (const auto& [status, meaning] : exit_statuses(command)) text += man_definition(status, meaning);
  text += ".SH SEE ALSO\n";
  std::string others = commands.empty() ? bold("facet") + "(1)" : "";
  for (const Command& each : commands) others += (others.empty() ? "" : ", ") + bold("facet-" + each.name) + "(1)";
  return text + others + '\n';
}

}  // namespace

std::string man_page(const std::vector<Command>& commands) { return man_text("facet", overview(), commands); }

std::string man_page(const Command& command) { return man_text("facet-" + command.name, command, {}); }

}  // namespace facet::app
