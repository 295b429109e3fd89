#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "cli/options.h"

namespace facet::app {
namespace {

constexpr const char* blanks = " \t\r";

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(blanks);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::string without_comment(const std::string& text) { return trimmed(text.substr(0, text.find('#'))); }

/// The contents of a value that begins with a quote. @throws UsageError whose message begins with `where`.
std::string unquoted(const std::string& text, const std::string& where) {
  std::string value;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] != '"') {
      value += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == '"') {
      value += text[i++];
    } else if (without_comment(text.substr(i + 1)).empty()) {
      return value;
    } else {
      throw UsageError(fmt::format("{}: '{}' follows the closing quote; a quote within quotes is doubled", where,
                                   without_comment(text.substr(i + 1))));
    }
  }
  throw UsageError(fmt::format("{}: the value {} has no closing quote", where, text));
}

ConfigEntry parse_line(const std::string& text, const std::string& file, int line) {
  const std::string where = fmt::format("{}:{}", file, line);
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals > text.find('#')) {
    throw UsageError(fmt::format("{}: '{}' isn't of the form 'name = value'", where, text));
  }
  ConfigEntry entry{trimmed(text.substr(0, equals)), "", line};
  const std::string value = trimmed(text.substr(equals + 1));
  entry.value = value.starts_with('"') ? unquoted(value, where) : without_comment(value);
  return entry;
}

}  // namespace

std::vector<ConfigEntry> read_config_file(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::error_code ignored;
  if (!stream || std::filesystem::is_directory(file, ignored)) {
    throw UsageError(fmt::format("can't read the config file {}: {}", file.string(),
                                 stream ? "it is a folder" : std::strerror(errno)));
  }
  std::vector<ConfigEntry> entries;
  std::string text;
  for (int line = 1; std::getline(stream, text); ++line) {
    if (line == 1 && text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
    text = trimmed(text);
    if (!text.empty() && text[0] != '#') entries.push_back(parse_line(text, file.string(), line));
  }
  return entries;
}

std::string config_value(const std::string& value) {
  if (value.find_first_of("\r\n") != std::string::npos) {
    throw UsageError(fmt::format("'{}' contains a line break, which a config file can't hold", value));
  }
  if (value == trimmed(value) && value.find_first_of("#\"") == std::string::npos) return value;
  std::string quoted = "\"";
  for (const char c : value) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

}  // namespace facet::app
