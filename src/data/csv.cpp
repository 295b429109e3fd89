#include "data/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "data/read_file.h"
#include "facet/error.h"

namespace facet::data {
namespace {

/// Of a manifest; a hundred million rows have room in it.
constexpr std::uint64_t most_bytes = std::uint64_t{1} << 33;

/// Bytes of the UTF-8 character that the text begins with; 0 where there is none (Unicode 15, table 3-7).
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto within = [&](std::size_t i, unsigned low, unsigned high) { return byte(i) >= low && byte(i) <= high; };
  const auto follows = [&](std::size_t i) { return within(i, 0x80, 0xBF); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (within(0, 0xC2, 0xDF)) return follows(1) ? 2 : 0;
  if (within(0, 0xE0, 0xEF)) {
    // Neither longer than needed nor half of a UTF-16 pair.
    return within(1, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF) && follows(2) ? 3 : 0;
  }
  if (!within(0, 0xF0, 0xF4)) return 0;
  return within(1, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF) && follows(2) && follows(3) ? 4 : 0;
}

/// @throws Error naming file, line and byte at the first thing that isn't UTF-8.
void require_utf8(const std::string& name, std::string_view text) {
  std::int64_t line = 1;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = character_length(text.substr(at));
    if (length == 0) {
      throw Error(fmt::format("{}:{}: not UTF-8: a byte 0x{:02X}; save the file in UTF-8", name, line,
                              static_cast<unsigned char>(text[at])));
    }
    if (text[at] == '\n' || (text[at] == '\r' && !text.substr(at + 1).starts_with('\n'))) ++line;
    at += length;
  }
}

std::vector<std::uint8_t> read(const std::filesystem::path& file) {
  try {
    return read_file(file, most_bytes);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", file.string(), error.what()));
  }
}

}  // namespace

CsvReader::CsvReader(const std::filesystem::path& file) : name_(file.string()) {
  const std::vector<std::uint8_t> bytes = read(file);
  text_.assign(bytes.begin(), bytes.end());
  if (text_.starts_with("\xFF\xFE") || text_.starts_with("\xFE\xFF") || text_.find('\0') != std::string::npos) {
    throw Error(fmt::format("{}: not a CSV in UTF-8 (UTF-16, or a binary file)", name_));
  }
  require_utf8(name_, text_);
  if (text_.starts_with("\xEF\xBB\xBF")) position_ = 3;
}

bool CsvReader::next(CsvRow& row) {
  while (skip_blank_line()) {
  }
  if (position_ == text_.size()) return false;
  row.line = line_;
  std::size_t count = 0;
  for (;;) {
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
      throw Error(fmt::format("{}:{}: a quoted field isn't closed", name_, start_line));
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
  if (!at_line_end() && text_[position_] != ',') {
    throw Error(fmt::format("{}:{}: '{}' after a closing quote, where a comma or the line's end is allowed", name_,
                            line_, text_[position_]));
  }
}

void CsvReader::plain_field(std::string& field) {
  const std::size_t end = std::min(text_.find_first_of(",\r\n", position_), text_.size());
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
