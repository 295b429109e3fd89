#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "options.h"
#include "removed_on_signal.h"

namespace facet::app {

/// What names standard output where a file is asked for.
inline constexpr const char* standard_output = "-";

/// The file that is meant by what a user calls it: standard output's by "-".
std::filesystem::path output_path(const std::string& name);

/// A file that the user asked for, or none. It is made before the work begins, so that a place that can't be written is
/// known at once; the file appears whole, at commit(), or not at all. A pipe or a device is written to as it is, and so
/// is standard output, which "-" names.
class OutputFile {
 public:
  /// @param name empty: no file; every call then does nothing.
  /// @throws UsageError when it is a folder, Error when it can't be made.
  explicit OutputFile(const std::string& name);

  bool wanted() const { return file_.has_value(); }
  /// Nothing else may be printed there then.
  bool is_standard_output() const { return name_ == standard_output; }
  const std::string& name() const { return name_; }
  /// Whether it is wanted and lies there afterwards, unlike what goes through a pipe or to standard output.
  bool is_kept() const { return file_ && !file_->at_once(); }
  void write(const std::string& text);
  void commit();

 private:
  std::string name_;
  std::optional<base::AtomicFile> file_;
  std::optional<RemovedOnSignal> removed_on_signal_;
};

/// @param names options that name files to write, or files that are read and must not be written over.
/// @throws UsageError when two of them name the same file.
void require_different_files(const Options& options, const std::vector<std::string>& names);

/// Writes a file whole or not at all. @throws Error, also when something else than a regular file is there.
void write_file(const std::filesystem::path& file, const std::string& text);

/// One line of a CSV, quoted where needed (RFC 4180), with its line break.
std::string csv_line(const std::vector<std::string>& fields);

}  // namespace facet::app
