#include "columns.h"

#include <algorithm>

#include "base/text.h"

namespace facet::app {

std::size_t display_width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::string aligned_left(const std::string& text, std::size_t width) {
  return text + std::string(width - std::min(width, display_width(text)), ' ');
}

std::string aligned_right(const std::string& text, std::size_t width) {
  return std::string(width - std::min(width, display_width(text)), ' ') + text;
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (Column& column : columns_) column.title = base::printable(column.title);
}

void Table::add(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = base::printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths) const {
  std::string text;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) text += "  ";
    text += columns_[i].numbers ? aligned_right(cells[i], widths[i]) : aligned_left(cells[i], widths[i]);
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::vector<std::string> Table::titles() const {
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  return titles;
}

std::vector<std::size_t> Table::widths() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    widths.push_back(display_width(columns_[i].title));
    for (const auto& row : rows_) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  return widths;
}

std::string Table::text(std::size_t indent) const {
  const std::vector<std::size_t> widths = this->widths();
  const std::string before(indent, ' ');
  std::string text = before + line(titles(), widths) + '\n';
  for (const auto& row : rows_) text += before + line(row, widths) + '\n';
  return text;
}

std::string Table::markdown() const {
  const std::vector<std::size_t> widths = this->widths();
  const auto row_text = [&](const std::vector<std::string>& cells) {
    std::string text = "|";
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const bool numbers = columns_[i].numbers;
      text += ' ' + (numbers ? aligned_right(cells[i], widths[i]) : aligned_left(cells[i], widths[i])) + " |";
    }
    return text + '\n';
  };
  std::string text = row_text(titles()) + '|';
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    text += columns_[i].numbers ? std::string(widths[i] + 1, '-') + ":|" : std::string(widths[i] + 2, '-') + '|';
  }
  text += '\n';
  for (const auto& row : rows_) text += row_text(row);
  return text;
}

}  // namespace facet::app
