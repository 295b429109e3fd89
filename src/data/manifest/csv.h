#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace facet::data {

struct CsvRow {
  std::int64_t line = 0;  ///< the line of the file where the row starts, counted from 1
  std::vector<std::string> fields;
};

/// Reads a CSV (RFC 4180) row by row: quoted fields, LF, CRLF or CR, a UTF-8 byte-order mark; blank lines are skipped.
/// The first line decides the separator of the whole file: a comma if there is one outside of quotes, else a semicolon
/// (which spreadsheets write in many languages), else a tab.
class CsvReader {
 public:
  /// @throws Error naming the file when it can't be read or isn't UTF-8 text, with its encoding where that is known or
  ///   the first line that isn't valid UTF-8. Names in a model file must be UTF-8.
  explicit CsvReader(const std::filesystem::path& file);
  /// Reads a file's text that was read before. @throws Error as above when it isn't UTF-8 text.
  CsvReader(const std::filesystem::path& file, std::string text);
  CsvReader(const CsvReader&) = delete;
  CsvReader& operator=(const CsvReader&) = delete;

  /// Reads the next row into `row`; returns false at the end of the file.
  /// @throws Error naming file and line when a quote isn't closed, a closing quote is followed by text, or the row has
  ///   more than 16384 fields.
  bool next(CsvRow& row);

  /// The field separator: ',', ';' or '\t'.
  char separator() const { return separator_; }

 private:
  void quoted_field(std::string& field, std::int64_t start_line);
  void plain_field(std::string& field);
  bool at_line_end() const;
  void skip_line_end();
  bool skip_blank_line();

  std::string name_;  ///< the file's name in printable form
  std::string text_;
  std::size_t position_ = 0;
  std::int64_t line_ = 1;
  char separator_ = ',';
};

/// Reads a CSV's whole text. @throws Error naming the file when it can't be read or is longer than 8 GiB.
std::string read_csv(const std::filesystem::path& file);

/// Returns `text` without leading and trailing spaces and tabs.
std::string trimmed(const std::string& text);

}  // namespace facet::data
