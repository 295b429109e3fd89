#include "cli/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/program_options/cmdline.hpp>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/positional_options.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <charconv>
#include <cmath>
#include <numeric>

#include "cli/output_file.h"
#include "cli/paths.h"

namespace facet::app {

namespace po = boost::program_options;
namespace {

constexpr const char* positional = "a word";  // no option can have this name on a command line

/// Joins each option that may stand without a value to its value, so that the parser doesn't take the next word for it.
/// The value is "yes" for a switch. For an optional value it is the next word where that is "-" or ends in .json, else
/// "-".
std::vector<std::string> with_values(const std::vector<std::string>& words, const std::vector<OptionGroup>& groups) {
  std::map<std::string, Option::Value> alone;
  for (const OptionGroup& group : groups) {
    for (const Option& option : group.options) alone.emplace("--" + option.name, option.value);
  }
  std::vector<std::string> all;
  const auto end = std::find(words.begin(), words.end(), "--");
  for (auto word = words.begin(); word != end; ++word) {
    all.push_back(*word);
    const auto option = alone.find(*word);
    if (option == alone.end()) continue;
    if (option->second == Option::Value::none) all.back() += "=yes";
    if (option->second != Option::Value::optional) continue;
    const bool joined = word + 1 != end && ((word + 1)->ends_with(".json") || *(word + 1) == standard_output);
    all.back() += '=' + (joined ? *++word : standard_output);
  }
  all.insert(all.end(), end, words.end());
  return all;
}

/// Makes a config file's value that is "." or begins with "./" a path relative to the file's folder, where the file is
/// a regular file whose path names a folder; returns other values unchanged.
std::string from_folder_of(const std::filesystem::path& config, const std::string& value) {
  if ((value != "." && !value.starts_with("./")) || !config.has_parent_path() || !is_file(config)) return value;
  return value == "." ? config.parent_path().string() : (config.parent_path() / value.substr(2)).string();
}

UsageError missing_value(const Option& option) {
  return UsageError(fmt::format("--{} needs a value ({})", option.name,
                                option.value == Option::Value::none ? "yes or no" : option.argument));
}

std::string without_dashes(const std::string& name) {
  const std::size_t first = name.find_first_not_of('-');
  return first == std::string::npos ? name : name.substr(first);
}

}  // namespace

Options::Options(const std::vector<OptionGroup>& groups, const std::vector<std::string>& words, bool reads_config)
    : groups_(groups) {
  parse(with_values(words, groups_));
  if (reads_config && given("config")) take_config(text("config"));
}

void Options::parse(const std::vector<std::string>& words) {
  po::options_description description;
  for (const OptionGroup& group : groups_) {
    for (const Option& option : group.options) {
      description.add_options()(option.name.c_str(), po::value<std::string>(), "");
      if (!option.former_name.empty()) {
        description.add_options()(option.former_name.c_str(), po::value<std::string>(), "");
      }
    }
  }
  description.add_options()(positional, po::value<std::string>(), "");
  po::positional_options_description positions;
  positions.add(positional, -1);

  namespace style = po::command_line_style;
  const bool terminated = std::find(words.begin(), words.end(), "--") != words.end();
  try {
    const po::parsed_options parsed =
        po::command_line_parser(words)
            .options(description)
            .positional(positions)
            .style(style::allow_long | style::long_allow_adjacent | style::long_allow_next)
            .run();
    for (const po::option& found : parsed.options) {
      const std::string value = found.value.empty() ? "" : found.value.front();
      if (found.position_key < 0) {
        const bool is_option = found.original_tokens.size() > 1 && value.starts_with("--");
        const std::string name = current_name(found.string_key);
        if (is_option || value.empty()) throw missing_value(option(name));
        take(name, value, "--" + found.string_key);
      } else if (value.size() > 1 && value[0] == '-' && !terminated) {
        throw UsageError(fmt::format("unknown option '{}'", value));
      } else if (value.empty()) {
        throw UsageError("an argument is empty ('')");
      } else {
        arguments_.push_back(value);
      }
    }
  } catch (const po::unknown_option& error) {
    const std::string name = without_dashes(error.get_option_name());
    throw UsageError(fmt::format("unknown option '--{}'{}", name, did_you_mean(name, names(), "--")));
  } catch (const po::invalid_command_line_syntax& error) {
    throw missing_value(option(current_name(without_dashes(error.get_option_name()))));
  }
}

void Options::take(const std::string& name, const std::string& value, const std::string& origin) {
  const bool many = option(name).value == Option::Value::many;
  Given& entry = given_[name];
  if (!many && !entry.values.empty()) throw UsageError(fmt::format("{} is given twice", origin));
  entry.values.push_back(option(name).value == Option::Value::optional && value.empty() ? standard_output : value);
  entry.origin = origin;
}

void Options::read_config(const std::filesystem::path& file) {
  if (!is_file(file)) throw UsageError(fmt::format("{}: is not a regular file", file.string()));
  take_config(file);
}

void Options::take_config(const std::filesystem::path& file) {
  const std::map<std::string, Given> before = given_;
  for (ConfigEntry entry : read_config_file(file)) {
    entry.name = current_name(entry.name);
    const std::vector<std::string> known = names();
    const std::string where = fmt::format("{}:{}", file.string(), entry.line);
    if (std::find(known.begin(), known.end(), entry.name) == known.end()) {
      throw UsageError(fmt::format("{}: unknown option '{}'{}", where, entry.name, did_you_mean(entry.name, known)));
    }
    if (entry.name == "config" || entry.name == "help" || option(entry.name).of_process) {
      throw UsageError(fmt::format("{}: '{}' is allowed on the command line only", where, entry.name));
    }
    const std::string origin = fmt::format("{}: {}", where, entry.name);
    if (entry.value.empty() && option(entry.name).value != Option::Value::optional) {
      throw UsageError(origin + " has no value");
    }
    if (!before.contains(entry.name)) take(entry.name, from_folder_of(file, entry.value), origin);
  }
}

std::string Options::config_text(const std::vector<std::string>& left_out) const {
  std::string text;
  for (const OptionGroup& group : groups_) {
    std::string lines;
    for (const Option& option : group.options) {
      if (option.of_process || std::find(left_out.begin(), left_out.end(), option.name) != left_out.end()) continue;
      const auto entry = given_.find(option.name);
      if (entry == given_.end() && option.fallback.empty()) continue;
      const auto values = entry == given_.end() ? std::vector{option.fallback} : entry->second.values;
      for (const std::string& value : values) lines += fmt::format("{} = {}\n", option.name, config_value(value));
    }
    if (!lines.empty()) text += fmt::format("\n# {}\n{}", group.title, lines);
  }
  return text;
}

void Options::complete(const std::string& name, const std::string& value, const std::string& origin) {
  if (!given(name)) take(name, value, origin);
}

void Options::set(const std::string& name, const std::string& value) {
  Given& entry = given_[option(name).name];
  if (entry.origin.empty()) entry.origin = "--" + name;
  entry.values = {value};
}

// Of each option: its name, its origin, the number of its values, and these.
std::vector<std::string> Options::values() const {
  std::vector<std::string> texts;
  for (const auto& [name, entry] : given_) {
    if (option(name).of_process) continue;
    texts.insert(texts.end(), {name, entry.origin, std::to_string(entry.values.size())});
    texts.insert(texts.end(), entry.values.begin(), entry.values.end());
  }
  return texts;
}

void Options::take_values(const std::vector<std::string>& values) {
  std::erase_if(given_, [&](const auto& entry) { return !option(entry.first).of_process; });
  for (auto text = values.begin(); text != values.end();) {
    Given& entry = given_[*text++];
    entry.origin = *text++;
    const auto end = text + 1 + std::stol(*text);
    entry.values.assign(text + 1, end);
    text = end;
  }
}

const Option& Options::option(const std::string& name) const {
  for (const OptionGroup& group : groups_) {
    for (const Option& option : group.options) {
      if (option.name == name) return option;
    }
  }
  throw std::logic_error("no option is declared as --" + name);
}

std::string Options::current_name(const std::string& name) const {
  for (const OptionGroup& group : groups_) {
    for (const Option& option : group.options) {
      if (!option.former_name.empty() && option.former_name == name) return option.name;
    }
  }
  return name;
}

std::vector<std::string> Options::names() const {
  std::vector<std::string> names;
  for (const OptionGroup& group : groups_) {
    for (const Option& option : group.options) names.push_back(option.name);
  }
  return names;
}

std::string Options::origin(const std::string& name) const {
  const auto entry = given_.find(name);
  return entry == given_.end() ? "--" + name : entry->second.origin;
}

std::string Options::text(const std::string& name) const {
  const auto entry = given_.find(name);
  return entry == given_.end() ? option(name).fallback : entry->second.values.front();
}

std::string Options::required(const std::string& name) const {
  const std::string value = text(name);
  if (value.empty()) throw UsageError(fmt::format("--{} {} is needed", name, option(name).argument));
  return value;
}

const std::vector<std::string>& Options::list(const std::string& name) const {
  static const std::vector<std::string> none;
  const auto entry = given_.find(name);
  return entry == given_.end() ? none : entry->second.values;
}

bool Options::on(const std::string& name) const {
  if (!given(name)) return false;
  const std::string value = text(name);
  if (value == "yes" || value == "true" || value == "1" || value == "on") return true;
  if (value == "no" || value == "false" || value == "0" || value == "off") return false;
  throw UsageError(fmt::format("{} is '{}'; yes and no are allowed", origin(name), value));
}

std::int64_t Options::integer(const std::string& name, std::int64_t low, std::int64_t high) const {
  return parse_integer(text(name), origin(name), low, high);
}

std::string Options::one_of(const std::string& name, const std::vector<std::string>& allowed) const {
  const std::string value = text(name);
  if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return value;
  throw UsageError(fmt::format("{} is '{}'; allowed: {}{}", origin(name), value, fmt::join(allowed, ", "),
                               did_you_mean(value, allowed)));
}

std::vector<std::string> Options::words(const std::string& name) const {
  const std::string value = text(name);
  return value.empty() ? std::vector<std::string>{} : split_at_commas(value, origin(name));
}

std::vector<std::string> split_at_commas(const std::string& text, const std::string& origin) {
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end == begin) throw UsageError(fmt::format("{} is '{}'; a value between its commas is empty", origin, text));
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

double parse_number(const std::string& text, const std::string& origin) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(number)) return number;
  throw UsageError(fmt::format("{} is '{}'; a number is needed", origin, text));
}

std::int64_t parse_integer(const std::string& text, const std::string& origin, std::int64_t low, std::int64_t high) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= low && value <= high) return value;
  const std::string range =
      high == INT64_MAX ? fmt::format("of at least {}", low) : fmt::format("from {} to {}", low, high);
  throw UsageError(fmt::format("{} is '{}'; a whole number {} is needed", origin, text, range));
}

namespace {

/// The number of insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string
/// alignment distance).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& names) {
  std::string best;
  std::size_t smallest = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& name : names) {
    const bool begins = word.size() > 1 && name.starts_with(word);
    const std::size_t distance = begins ? 1 : edit_distance(word, name);
    if (distance < smallest && distance < name.size()) {
      smallest = distance;
      best = name;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& names, std::string_view prefix) {
  const std::string name = nearest(word, names);
  return name.empty() ? "" : fmt::format("; did you mean '{}{}'?", prefix, name);
}

}  // namespace facet::app
