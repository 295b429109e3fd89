#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/atomic_file.h"

namespace facet::app {

/// A file that the user asked for, or none. It is made before the work begins, so that a place that can't be written is
/// known at once; the file appears whole, at commit(), or not at all.
class OutputFile {
 public:
  /// @param name empty: no file; every call then does nothing.
  /// @throws UsageError when it is there and isn't a plain file, Error when it can't be made.
  explicit OutputFile(const std::string& name);

  bool wanted() const { return file_.has_value(); }
  const std::string& name() const { return name_; }
  void write(const std::string& text);
  void commit();

 private:
  std::string name_;
  std::optional<base::AtomicFile> file_;
};

/// Writes a file whole or not at all. @throws Error.
void write_file(const std::filesystem::path& file, const std::string& text);

/// One line of a CSV, quoted where needed (RFC 4180), with its line break.
std::string csv_line(const std::vector<std::string>& fields);

}  // namespace facet::app
