#include "data/csv.h"

#include <fmt/format.h>

#include "data/read_file.h"
#include "facet/error.h"

namespace facet::data {

CsvReader::CsvReader(const std::filesystem::path& file) : name_(file.string()) {
  std::vector<std::uint8_t> bytes;
  if (const std::string reason = read_file(file, bytes); !reason.empty()) {
    throw Error(fmt::format("{}: {}", name_, reason));
  }
  text_.assign(bytes.begin(), bytes.end());
  if (text_.starts_with("\xFF\xFE") || text_.starts_with("\xFE\xFF") || text_.find('\0') != std::string::npos) {
    throw Error(fmt::format("{}: not a CSV in UTF-8 (UTF-16, or a binary file)", name_));
  }
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
