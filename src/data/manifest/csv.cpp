#include "data/manifest/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <string_view>
#include <utility>

#include "base/read_file.h"
#include "base/text.h"
#include "facet/error.h"
#include "facet/text.h"

namespace facet::data {
namespace {

/// Maximum size of a manifest, enough for about a hundred million rows.
constexpr std::uint64_t max_bytes = std::uint64_t{1} << 33;
/// The number of columns that a spreadsheet can have. A file with more isn't a manifest and could exhaust memory.
constexpr std::size_t max_fields = 16384;

/// @throws Error naming file, line and byte at the first byte that isn't valid UTF-8.
void require_utf8(const std::string& name, std::string_view text) {
  std::int64_t line = 1;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = base::utf8_length(text.substr(at));
    if (length == 0) {
      throw Error(fmt::format("{}:{}: byte 0x{:02X} is not valid UTF-8; save the file in UTF-8", name, line,
                              static_cast<unsigned char>(text[at])),
                  ErrorCode::invalid_data);
    }
    if (text[at] == '\n' || (text[at] == '\r' && !text.substr(at + 1).starts_with('\n'))) ++line;
    at += length;
  }
}

/// @throws Error unless the file is UTF-8 text, naming its encoding or file type where that is recognised.
void require_text(const std::string& name, std::string_view text) {
  const char* encoding = nullptr;
  if (text.starts_with(std::string_view("\xFF\xFE\0\0", 4)) || text.starts_with(std::string_view("\0\0\xFE\xFF", 4))) {
    encoding = "UTF-32";
  } else if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF") ||
             (text.size() > 1 && (text[0] == '\0') != (text[1] == '\0'))) {
    encoding = "UTF-16";
  }
  if (encoding)
    throw Error(fmt::format("{}: is in {}; save the file in UTF-8", name, encoding), ErrorCode::invalid_data);
  if (text.starts_with("PK\x03\x04")) {
    throw Error(
        fmt::format("{}: is a ZIP archive, as .xlsx and .ods are, not a CSV; save the sheet as a CSV in UTF-8", name),
        ErrorCode::invalid_data);
  }
  if (text.find('\0') != std::string_view::npos)
    throw Error(fmt::format("{}: is a binary file, not a CSV", name), ErrorCode::invalid_data);
  require_utf8(name, text);
}

/// Returns the separator of the fields in the first line that isn't blank.
char find_separator(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  char found = ',';
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == ',' || c == '\n' || c == '\r') return c == ',' ? c : found;
    if (c == ';' || (c == '\t' && found == ',')) found = c;
  }
  return found;
}

const char* name_of_separator(char separator) {
  return separator == ',' ? "a comma" : separator == ';' ? "a semicolon" : "a tab";
}

}  // namespace

std::string read_csv(const std::filesystem::path& file) {
  const std::string name = printable(file.string());
  try {
    const std::vector<std::uint8_t> bytes = base::read_file(file, max_bytes);
    return {bytes.begin(), bytes.end()};
  } catch (const Error& error) {
    throw error.with_prefix(name + ": ");
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("{}: out of memory", name), ErrorCode::out_of_memory);
  }
}

CsvReader::CsvReader(const std::filesystem::path& file) : CsvReader(file, read_csv(file)) {}

CsvReader::CsvReader(const std::filesystem::path& file, std::string text)
    : name_(printable(file.string())), text_(std::move(text)) {
  require_text(name_, text_);
  if (text_.starts_with("\xEF\xBB\xBF")) position_ = 3;
  separator_ = find_separator(std::string_view(text_).substr(position_));
}

bool CsvReader::next(CsvRow& row) {
  while (skip_blank_line()) {
  }
  if (position_ == text_.size()) return false;
  row.line = line_;
  std::size_t count = 0;
  for (;;) {
    if (count == max_fields) {
      throw Error(fmt::format("{0}:{1}: the row has more than {2} fields; at most {2} are allowed", name_, row.line,
                              max_fields),
                  ErrorCode::invalid_data);
    }
    if (row.fields.size() == count) row.fields.emplace_back();
    std::string& field = row.fields[count++];
    field.clear();
    if (position_ < text_.size() && text_[position_] == '"') {
      quoted_field(field, row.line);
    } else {
      plain_field(field);
    }
    if (at_line_end()) break;
    ++position_;
  }
  row.fields.resize(count);
  skip_line_end();
  return true;
}

void CsvReader::quoted_field(std::string& field, std::int64_t start_line) {
  ++position_;
  for (;; ++position_) {
    if (position_ == text_.size()) {
      throw Error(fmt::format("{}:{}: a quoted field has no closing quote", name_, start_line),
                  ErrorCode::invalid_data);
    }
    const char c = text_[position_];
    if (c == '"') {
      if (position_ + 1 == text_.size() || text_[position_ + 1] != '"') break;
      ++position_;
    } else if (c == '\n' || (c == '\r' && (position_ + 1 == text_.size() || text_[position_ + 1] != '\n'))) {
      ++line_;
    }
    field += c;
  }
  ++position_;
  if (!at_line_end() && text_[position_] != separator_) {
    const std::string_view rest = std::string_view(text_).substr(position_);
    throw Error(fmt::format("{}:{}: '{}' follows a closing quote, where {} or the end of the line is allowed", name_,
                            line_, printable(rest.substr(0, base::utf8_length(rest))), name_of_separator(separator_)),
                ErrorCode::invalid_data);
  }
}

void CsvReader::plain_field(std::string& field) {
  const char ends[] = {separator_, '\r', '\n', '\0'};
  const std::size_t end = std::min(text_.find_first_of(ends, position_), text_.size());
  field.assign(text_, position_, end - position_);
  position_ = end;
}

bool CsvReader::at_line_end() const {
  return position_ == text_.size() || text_[position_] == '\n' || text_[position_] == '\r';
}

void CsvReader::skip_line_end() {
  if (position_ == text_.size()) return;
  const bool two = text_[position_] == '\r' && position_ + 1 < text_.size() && text_[position_ + 1] == '\n';
  position_ += two ? 2 : 1;
  ++line_;
}

bool CsvReader::skip_blank_line() {
  const std::size_t end = std::min(text_.find_first_not_of(" \t", position_), text_.size());
  if (position_ == text_.size() || (end < text_.size() && text_[end] != '\n' && text_[end] != '\r')) return false;
  position_ = end;
  skip_line_end();
  return true;
}

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace facet::data
