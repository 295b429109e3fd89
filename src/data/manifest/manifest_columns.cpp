#include "data/manifest/manifest_columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/text.h"
#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/text.h"

namespace facet::data {
namespace {

using Names = std::vector<std::string>;

/// The usual names of the column of files, the most usual first.
const Names& usual_file_columns() {
  static const Names names{"file", "image", "path", "filename", "file_name", "filepath", "image_path", "img"};
  return names;
}

bool contains(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void require_distinct(const std::string& where, const std::string& what, Names names) {
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end())
    throw Error(fmt::format("{}: {} '{}' occurs twice", where, what, printable(*twice)), ErrorCode::invalid_data);
}

bool is_image_file(std::string_view text) {
  constexpr std::array<std::string_view, 6> extensions{".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"};
  const std::string name = base::lower_case(text);
  return std::any_of(extensions.begin(), extensions.end(), [&](std::string_view end) { return name.ends_with(end); });
}

/// Returns the column names of the header. A column without a name (a data frame's index) has an empty name here and is
/// never read.
Names read_header(CsvReader& reader, const std::string& csv, std::string& where) {
  CsvRow row;
  if (!reader.next(row))
    throw Error(fmt::format("{}: is empty; a header that names the columns is needed", csv), ErrorCode::invalid_data);
  where = fmt::format("{}:{}", csv, row.line);
  Names columns;
  for (const std::string& field : row.fields) columns.push_back(trimmed(field));
  if (const auto file = std::find_if(columns.begin(), columns.end(), is_image_file); file != columns.end()) {
    throw Error(fmt::format("{}: the first line contains the file name '{}'; a header that names the columns is needed",
                            where, printable(*file)),
                ErrorCode::invalid_data);
  }
  Names named = columns;
  std::erase(named, "");
  require_distinct(where, "column", named);
  return columns;
}

std::size_t position_of(const Names& columns, const std::string& name) {
  return static_cast<std::size_t>(std::find(columns.begin(), columns.end(), name) - columns.begin());
}

std::string find_file_column(const std::string& where, const Names& columns, const std::string& requested) {
  Names named = columns;
  std::erase(named, "");
  if (!requested.empty()) {
    if (contains(named, requested)) return requested;
    throw Error(fmt::format("{}: there is no column '{}' of image files; the columns are: {}", where,
                            printable(requested), list_of(named)));
  }
  const Names& usual = usual_file_columns();
  if (contains(named, usual[0])) return usual[0];
  for (const std::string& name : usual) {
    const auto found = std::find_if(named.begin(), named.end(),
                                    [&](const std::string& column) { return base::lower_case(column) == name; });
    if (found != named.end()) return *found;
  }
  throw Error(
      fmt::format("{}: no column is called {}; the columns are: {}; --file-column names the column of image files",
                  where, list_of(usual), list_of(named)),
      ErrorCode::invalid_data);
}

/// Returns the requested heads and their columns; empty: all columns.
std::vector<HeadColumn> requested_heads(const std::string& csv, const ManifestOptions& options) {
  const Names expected = names_of(options.expected);
  const std::string& label = options.label_column;
  if (!label.empty() && !options.heads.empty() && options.heads != Names{label}) {
    throw Error(fmt::format("{}: the heads {} are requested, but '{}' is requested as the only column of labels", csv,
                            list_of(options.heads), printable(label)));
  }
  if (!label.empty() && expected.size() > 1) {
    throw Error(fmt::format("{}: '{}' is requested as the only column of labels; the model has the heads {}", csv,
                            printable(label), list_of(expected)));
  }
  if (!label.empty()) return {{expected.empty() ? label : expected[0], label, {}}};
  if (!expected.empty() && !options.heads.empty() && options.heads != expected) {
    throw Error(fmt::format("{}: the heads {} are requested; the model has {}", csv, list_of(options.heads),
                            list_of(expected)));
  }
  std::vector<HeadColumn> heads;
  for (const std::string& name : expected.empty() ? options.heads : expected) heads.push_back({name, name, {}});
  return heads;
}

}  // namespace

ManifestColumns read_columns(const std::string& csv, CsvReader& reader, const ManifestOptions& options,
                             const std::vector<std::string>& extra_columns) {
  std::string where;
  const Names columns = read_header(reader, csv, where);
  ManifestColumns found;
  found.count = columns.size();
  found.file_column = find_file_column(where, columns, options.file_column);
  found.file = position_of(columns, found.file_column);
  if (reader.separator() != ',') {
    found.notes.push_back(
        fmt::format("{}: {} separate the fields", csv, reader.separator() == ';' ? "semicolons" : "tabs"));
  }
  if (options.file_column.empty() && found.file_column != usual_file_columns()[0]) {
    found.notes.push_back(fmt::format("{}: column '{}' names the files", csv, printable(found.file_column)));
  }

  if (const std::string& weight = options.weight_column; !weight.empty()) {
    if (!contains(columns, weight) || weight == found.file_column) {
      Names others = columns;
      std::erase_if(others, [&](const std::string& name) { return name.empty() || name == found.file_column; });
      throw Error(fmt::format("{}: there is no column '{}' of weights; the columns are: {}", where, printable(weight),
                              list_of(others)));
    }
    found.weight = position_of(columns, weight);
  }

  found.heads = requested_heads(csv, options);
  found.heads_are_chosen = !found.heads.empty();
  const auto can_be_head = [&](const std::string& name) { return !name.empty() && name != found.file_column; };
  if (!found.heads_are_chosen) {
    Names files;  // columns that have a usual name of a column of files
    for (const std::string& column : columns) {
      if (!can_be_head(column) || contains(extra_columns, column) || column == options.weight_column) continue;
      const bool names_files = contains(usual_file_columns(), base::lower_case(column));
      if (names_files && !options.classes.contains(column)) {
        files.push_back(column);
      } else {
        found.heads.push_back({column, column, {}});
      }
    }
    if (found.heads.empty()) {
      for (const std::string& column : files) found.heads.push_back({column, column, {}});
    } else if (!files.empty()) {
      found.notes.push_back(
          fmt::format("{}: columns ignored because they name files, as '{}' does: {}; --heads requests them", csv,
                      printable(found.file_column), list_of(files)));
    }
  }
  if (found.heads.empty()) {
    throw Error(fmt::format("{}: there is no column of labels beside the column of image files, '{}'", csv,
                            printable(found.file_column)),
                ErrorCode::invalid_data);
  }
  Names heads, present, allowed;
  std::copy_if(columns.begin(), columns.end(), std::back_inserter(allowed), can_be_head);
  for (HeadColumn& head : found.heads) {
    heads.push_back(head.head);
    if (!can_be_head(head.column) || !contains(columns, head.column)) continue;
    head.position = position_of(columns, head.column);
    present.push_back(head.head);
  }
  require_distinct(csv, "head", heads);
  if (contains(heads, "")) throw Error(fmt::format("{}: a head without a name is requested", csv));
  const bool may_be_missing = options.allow_missing && !options.expected.empty() && options.label_column.empty();
  if (may_be_missing && present.empty()) {
    throw Error(fmt::format("{}: there is no column for any of the model's heads, {}; the columns are: {}", csv,
                            list_of(heads), list_of(allowed)));
  }
  for (const HeadColumn& head : found.heads) {
    if (head.position || may_be_missing) continue;
    throw Error(fmt::format("{}: there is no column for head '{}'; the columns are: {}", csv, printable(head.column),
                            list_of(allowed)));
  }
  return found;
}

}  // namespace facet::data
