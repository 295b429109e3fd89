#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "facet/text.h"

namespace facet::app {

/// An invalid command line or config file. The message is one line for the user; the program then exits with status 2.
class UsageError : public std::runtime_error {
 public:
  explicit UsageError(const std::string& text) : std::runtime_error(printable(text)) {}
};

/// An option of a command: how it is read, and how the manual describes it.
struct Option {
  enum class Value : std::uint8_t {
    one,       ///< --name VALUE
    many,      ///< may be given several times
    optional,  ///< --name or --name=VALUE
    none,      ///< a switch: --name; --name=no undoes it
  };

  std::string name;           ///< without the dashes
  std::string argument;       ///< the placeholder of its value in the manual
  std::string help;           ///< what it does, with its unit
  std::string fallback = {};  ///< its default value; empty: none
  Value value = Value::one;
  std::vector<std::string> choices = {};  ///< values that a shell offers, beside those that `argument` lists
  std::string former_name = {};           ///< a name that is accepted like `name`, but that the manual doesn't show
  /// Whether it concerns one process only: a config file can't have it, and other ranks don't take it over.
  bool of_process = false;
};

struct OptionGroup {
  std::string title;
  std::vector<Option> options;
};

/// The values of a command's options. The command line takes precedence over config files, and these over the defaults.
/// Functions that return a value throw UsageError, saying where the value came from, when it isn't allowed.
class Options {
 public:
  /// Reads a command line. An option that takes a JSON file as an optional value takes the next word too, if that is
  /// "-" or ends in .json; without a value its text is "-", standard output. @throws UsageError naming what is wrong,
  /// with the nearest valid name.
  /// @param reads_config whether the file of --config is read.
  Options(const std::vector<OptionGroup>& groups, const std::vector<std::string>& words, bool reads_config = true);

  /// Takes the options that haven't been given yet from a run's config file, which must be a regular file. A value that
  /// is "." or begins with "./" is a path relative to the file's folder. @throws UsageError naming the line.
  void read_config(const std::filesystem::path& file);
  /// The text of a config file that gives all options but those `left_out`, and those of a process, their present
  /// values, by group.
  std::string config_text(const std::vector<std::string>& left_out) const;
  /// Gives an option that wasn't given this value, which messages say comes from `origin`.
  void complete(const std::string& name, const std::string& value, const std::string& origin);
  /// Sets an option's value.
  void set(const std::string& name, const std::string& value);
  /// The given values, with their origins, for take_values() of another process. Those of a process are left out.
  std::vector<std::string> values() const;
  /// Replaces the given values, but those of a process, by another process's.
  void take_values(const std::vector<std::string>& values);

  /// The words that belong to no option.
  const std::vector<std::string>& arguments() const { return arguments_; }

  /// Whether an option was given, with a value or as a switch.
  bool given(const std::string& name) const { return given_.contains(name); }
  /// Whether a switch is on.
  bool on(const std::string& name) const;
  std::string text(const std::string& name) const;
  /// The value of an option that must have one.
  std::string required(const std::string& name) const;
  const std::vector<std::string>& list(const std::string& name) const;
  std::int64_t integer(const std::string& name, std::int64_t low, std::int64_t high = INT64_MAX) const;
  std::string one_of(const std::string& name, const std::vector<std::string>& allowed) const;
  /// The words between the commas of a value; none may be empty.
  std::vector<std::string> words(const std::string& name) const;

  /// An option's name in messages, with the place of its value: "--epochs", or "run.cfg:3: epochs".
  std::string origin(const std::string& name) const;

 private:
  struct Given {
    std::vector<std::string> values;
    std::string origin;
  };

  const Option& option(const std::string& name) const;
  /// The current name of an option that is called by this name or had it formerly.
  std::string current_name(const std::string& name) const;
  std::vector<std::string> names() const;
  void parse(const std::vector<std::string>& words);
  /// As read_config(), but the file may also be a pipe.
  void take_config(const std::filesystem::path& file);
  void take(const std::string& name, const std::string& value, const std::string& origin);

  std::vector<OptionGroup> groups_;
  std::map<std::string, Given> given_;
  std::vector<std::string> arguments_;
};

/// Splits a text at its commas. @throws UsageError naming `origin` when one is empty.
std::vector<std::string> split_at_commas(const std::string& text, const std::string& origin);

/// Reads a finite number, which must be the whole text. @throws UsageError naming `origin`.
double parse_number(const std::string& text, const std::string& origin);

/// Reads a whole number from `low` to `high`, which must be the whole text. @throws UsageError naming `origin`.
std::int64_t parse_integer(const std::string& text, const std::string& origin, std::int64_t low,
                           std::int64_t high = INT64_MAX);

/// The name that a mistyped word most likely stands for: one that begins with the word, or else the one with the
/// smallest edit distance (at most a third of the word's length, or two for a short word); empty when there is none.
std::string nearest(std::string_view word, const std::vector<std::string>& names);

/// "; did you mean 'NAME'?" with `prefix` before the nearest name; empty when there is none.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& names, std::string_view prefix = "");

/// A line `name = value` of a config file.
struct ConfigEntry {
  std::string name;
  std::string value;
  int line;
};

/// Reads a config file of lines `name = value`, without sections. A # begins a comment that ends with the line. A value
/// in double quotes is taken literally (a double quote within it is doubled), so that any path can be written.
/// @throws UsageError naming the file and the line that is invalid.
std::vector<ConfigEntry> read_config_file(const std::filesystem::path& file);

/// A value as it is written in a config file, in quotes where needed. @throws UsageError when it holds a line break.
std::string config_value(const std::string& value);

}  // namespace facet::app
