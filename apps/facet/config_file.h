#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace facet::app {

/// A line `name = value` of a config file.
struct ConfigEntry {
  std::string name;
  std::string value;
  int line;
};

/// Reads a config file of lines `name = value`, without sections; # begins a comment, to the end of the line. A value
/// in double quotes is taken as it stands (a double quote within it is doubled), so that any path can be written.
/// @throws UsageError naming the file and line of what can't be read.
std::vector<ConfigEntry> read_config_file(const std::filesystem::path& file);

/// A value as a config file has it, in quotes where it needs them. @throws UsageError when it holds a line break.
std::string config_value(const std::string& value);

}  // namespace facet::app
