#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace facet::data {

struct CsvRow {
  std::int64_t line = 0;  ///< where the row starts in the file, from 1
  std::vector<std::string> fields;
};

/// Reads a CSV (RFC 4180) row by row: quoted fields, LF, CRLF or CR, a UTF-8 byte-order mark; blank lines are skipped.
/// Where the first line has no comma outside of quotes, but a semicolon or a tab, that one separates the fields of the
/// whole file, as spreadsheets write it in many languages.
class CsvReader {
 public:
  /// @throws Error naming the file when it can't be read, or the encoding that isn't UTF-8, and the line that isn't text
  ///   in UTF-8: such a name could be in no model file.
  explicit CsvReader(const std::filesystem::path& file);
  CsvReader(const CsvReader&) = delete;
  CsvReader& operator=(const CsvReader&) = delete;

  /// The next row into `row`; false at the end.
  /// @throws Error naming file and line when a quote isn't closed, or is followed by text, or the row has very many
  ///   fields.
  bool next(CsvRow& row);

  /// ',', ';' or '\t'.
  char separator() const { return separator_; }

 private:
  void quoted_field(std::string& field, std::int64_t start_line);
  void plain_field(std::string& field);
  bool at_line_end() const;
  void skip_line_end();
  bool skip_blank_line();

  std::string name_;  ///< printable
  std::vector<std::uint8_t> bytes_;
  std::string_view text_;  ///< of bytes_
  std::size_t position_ = 0;
  std::int64_t line_ = 1;
  char separator_ = ',';
};

/// Without spaces and tabs at both ends.
std::string trimmed(const std::string& text);

}  // namespace facet::data
