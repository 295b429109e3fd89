#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace facet::app {

/// Columns that UTF-8 text takes on a terminal, taking one for each character.
std::size_t display_width(const std::string& text);

std::string aligned_left(const std::string& text, std::size_t width);
std::string aligned_right(const std::string& text, std::size_t width);

/// Rows of cells under titles, in columns as wide as their widest cell, two blanks apart. What a terminal would take
/// for an order is shown as an escape (base::printable).
class Table {
 public:
  struct Column {
    std::string title;
    bool numbers = false;  ///< aligned to the right
  };

  explicit Table(std::vector<Column> columns);
  /// @param cells one a column.
  void add(std::vector<std::string> cells);
  /// All lines, each after `indent` blanks.
  std::string text(std::size_t indent = 0) const;
  /// The same as a Markdown table, its columns aligned in the source too.
  std::string markdown() const;

 private:
  std::vector<std::string> titles() const;
  /// Of each column's widest cell, the title included.
  std::vector<std::size_t> widths() const;
  std::string line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace facet::app
