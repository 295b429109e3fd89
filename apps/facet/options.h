#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.h"

namespace facet::app {

/// A command line or config file that can't be taken: one line for the user. The program exits with 2.
class UsageError : public std::runtime_error {
 public:
  explicit UsageError(const std::string& text) : std::runtime_error(base::printable(text)) {}
};

/// An option of a command, as it is read and as the manual shows it.
struct Option {
  enum class Value : std::uint8_t {
    one,       ///< --name VALUE
    many,      ///< may be given several times
    optional,  ///< --name or --name=VALUE
    none,      ///< a switch: --name, undone by --name=no
  };

  std::string name;           ///< without the dashes
  std::string argument;       ///< what the manual calls its value
  std::string help;           ///< what it does, with its unit
  std::string fallback = {};  ///< its value when it isn't given; empty: none
  Value value = Value::one;
};

struct OptionGroup {
  std::string title;
  std::vector<Option> options;
};

/// The values of a command's options: those of the command line, then those of config files, then the defaults.
/// Every reader throws UsageError, saying where the value came from, when it isn't one that is allowed.
class Options {
 public:
  /// Reads a command line. An option that takes a JSON file as an optional value takes the next word too, if that is
  /// "-" or ends in .json; without a value its text is "-", standard output. @throws UsageError naming what is wrong,
  /// with the nearest valid name.
  Options(const std::vector<OptionGroup>& groups, const std::vector<std::string>& words);

  /// Takes from a run's config file, a regular one, what hasn't been given yet: "." and what begins with "./" is a path
  /// from the file's folder. @throws UsageError naming its line.
  void read_config(const std::filesystem::path& file);
  /// What a config file says to take the same values again, under the titles of their groups.
  std::string config_text(const std::vector<std::string>& left_out) const;
  /// Gives an option the value that it came to.
  void set(const std::string& name, const std::string& value);

  /// Words that belong to no option.
  const std::vector<std::string>& arguments() const { return arguments_; }

  /// Whether it was given, with a value or as a switch.
  bool given(const std::string& name) const { return given_.contains(name); }
  bool on(const std::string& name) const;
  std::string text(const std::string& name) const;
  std::string required(const std::string& name) const;
  const std::vector<std::string>& list(const std::string& name) const;
  std::int64_t integer(const std::string& name, std::int64_t low, std::int64_t high = INT64_MAX) const;
  /// Above `low`, or at least `low`.
  double above(const std::string& name, double low) const;
  double at_least(const std::string& name, double low) const;
  std::string one_of(const std::string& name, const std::vector<std::string>& allowed) const;
  /// Words between commas; none may be empty.
  std::vector<std::string> words(const std::string& name) const;
  /// Numbers between commas.
  std::vector<double> numbers(const std::string& name) const;

  /// How messages call an option: "--epochs", or "epochs in run.cfg, line 3".
  std::string origin(const std::string& name) const;

 private:
  struct Given {
    std::vector<std::string> values;
    std::string origin;
  };

  const Option& option(const std::string& name) const;
  std::vector<std::string> names() const;
  double number(const std::string& name) const;
  void parse(const std::vector<std::string>& words);
  /// Of a pipe too.
  void take_config(const std::filesystem::path& file);
  void take(const std::string& name, const std::string& value, const std::string& origin);

  std::vector<OptionGroup> groups_;
  std::map<std::string, Given> given_;
  std::vector<std::string> arguments_;
};

/// Words between commas. @throws UsageError naming `origin` when one is empty.
std::vector<std::string> split_at_commas(const std::string& text, const std::string& origin);

/// A finite number, spelt in full. @throws UsageError naming `origin`.
double parse_number(const std::string& text, const std::string& origin);

/// A whole number of at least `low`, spelt in full. @throws UsageError naming `origin`.
std::int64_t parse_integer(const std::string& text, const std::string& origin, std::int64_t low,
                           std::int64_t high = INT64_MAX);

}  // namespace facet::app
