#pragma once

#include <csignal>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "facet/files.h"

namespace facet::app {

/// The name of standard output where an option or argument names a file.
inline constexpr const char* standard_output = "-";

/// The path of the file that a user's argument names; "-" names standard output.
std::filesystem::path output_path(const std::string& name);

/// While this object lives, SIGINT, SIGTERM and SIGHUP remove a partly written file before they end the process.
/// Signals that are ignored or have another handler keep their action. At most 8 objects work at a time; the files of
/// further ones are not removed.
class RemovedOnSignal {
 public:
  explicit RemovedOnSignal(const std::filesystem::path& file);
  ~RemovedOnSignal();
  RemovedOnSignal(const RemovedOnSignal&) = delete;
  RemovedOnSignal& operator=(const RemovedOnSignal&) = delete;

 private:
  std::size_t place_;  ///< index in the table of files; its size where there is no room
};

/// While this object lives, SIGINT, SIGTERM and SIGHUP are blocked: for the time between the creation of a file and
/// that of its RemovedOnSignal.
class SignalsHeldBack {
 public:
  SignalsHeldBack();
  ~SignalsHeldBack();
  SignalsHeldBack(const SignalsHeldBack&) = delete;
  SignalsHeldBack& operator=(const SignalsHeldBack&) = delete;

 private:
  sigset_t before_{};
};

/// An output file that a user requested, or none. It is created before the work begins, so that a path that can't be
/// written is reported at once. The whole file appears at commit(), or none. A pipe, a device and standard output ("-")
/// are written to directly.
class OutputFile {
 public:
  /// @param name the file; empty: none, and all calls do nothing.
  /// @throws UsageError when it is a folder, Error when it can't be made.
  explicit OutputFile(const std::string& name);

  /// Whether a file is requested.
  bool wanted() const { return file_.has_value(); }
  /// Whether it is standard output, where nothing else may then be printed.
  bool is_standard_output() const { return name_ == standard_output; }
  const std::string& name() const { return name_; }
  /// Whether it is a regular file, not a pipe, a device or standard output.
  bool is_kept() const { return file_ && !file_->writes_directly(); }
  void write(const std::string& text);
  void commit();

 private:
  std::string name_;
  std::optional<AtomicFile> file_;
  std::optional<RemovedOnSignal> removed_on_signal_;
};

/// @param names options that name files to write, or files that are read and must not be overwritten.
/// @throws UsageError when two of them name the same file.
void require_different_files(const Options& options, const std::vector<std::string>& names);

/// Writes a whole file or nothing. @throws Error, also when the path exists and isn't a regular file.
void write_file(const std::filesystem::path& file, const std::string& text);

/// One line of a CSV file with its line break; fields are quoted where needed (RFC 4180).
std::string csv_line(const std::vector<std::string>& fields);

}  // namespace facet::app
