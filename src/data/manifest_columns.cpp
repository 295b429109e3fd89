#include "data/manifest_columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/text.h"
#include "data/labels.h"
#include "facet/error.h"

namespace facet::data {
namespace {

using base::printable;
using Names = std::vector<std::string>;

constexpr const char* fairface_extra_column = "service_test";

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
  if (twice != names.end()) throw Error(fmt::format("{}: {} '{}' stands there twice", where, what, printable(*twice)));
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
  if (!reader.next(row)) throw Error(fmt::format("{}: is empty; a header that names the columns is needed", csv));
  where = fmt::format("{}:{}", csv, row.line);
  Names columns;
  for (const std::string& field : row.fields) columns.push_back(trimmed(field));
  if (const auto file = std::find_if(columns.begin(), columns.end(), is_image_file); file != columns.end()) {
    throw Error(fmt::format("{}: the first line holds '{}', a file; a header that names the columns is needed", where,
                            printable(*file)));
  }
  Names named = columns;
  std::erase(named, "");
  require_distinct(where, "column", named);
  return columns;
}

std::size_t position_of(const Names& columns, const std::string& name) {
  return static_cast<std::size_t>(std::find(columns.begin(), columns.end(), name) - columns.begin());
}

std::string find_file_column(const std::string& where, const Names& columns, const std::string& asked) {
  Names named = columns;
  std::erase(named, "");
  if (!asked.empty()) {
    if (contains(named, asked)) return asked;
    throw Error(
        fmt::format("{}: no column '{}' of files; the columns are: {}", where, printable(asked), list_of(named)));
  }
  const Names& usual = usual_file_columns();
  if (contains(named, usual[0])) return usual[0];
  for (const std::string& name : usual) {
    const auto found = std::find_if(named.begin(), named.end(),
                                    [&](const std::string& column) { return base::lower_case(column) == name; });
    if (found != named.end()) return *found;
  }
  throw Error(
      fmt::format("{}: no column is called {}; the columns are: {}; --file-column says which one names the files",
                  where, list_of(usual), list_of(named)));
}

/// Returns the requested heads and their columns; empty: all columns.
std::vector<HeadColumn> asked_heads(const std::string& csv, const ManifestOptions& options) {
  const Names expected = names_of(options.expected);
  const std::string& label = options.label_column;
  if (!label.empty() && !options.heads.empty() && options.heads != Names{label}) {
    throw Error(fmt::format("{}: heads {} requested, and '{}' as the only column of labels", csv,
                            list_of(options.heads), printable(label)));
  }
  if (!label.empty() && expected.size() > 1) {
    throw Error(fmt::format("{}: '{}' requested as the only column of labels; the model has the heads {}", csv,
                            printable(label), list_of(expected)));
  }
  if (!label.empty()) return {{expected.empty() ? label : expected[0], label, {}}};
  if (!expected.empty() && !options.heads.empty() && options.heads != expected) {
    throw Error(
        fmt::format("{}: heads {} requested; the model has {}", csv, list_of(options.heads), list_of(expected)));
  }
  std::vector<HeadColumn> heads;
  for (const std::string& name : expected.empty() ? options.heads : expected) heads.push_back({name, name, {}});
  return heads;
}

}  // namespace

ManifestColumns read_columns(const std::string& csv, CsvReader& reader, const ManifestOptions& options) {
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

  found.heads = asked_heads(csv, options);
  found.heads_are_chosen = !found.heads.empty();
  const auto can_be_head = [&](const std::string& name) { return !name.empty() && name != found.file_column; };
  if (!found.heads_are_chosen) {
    Names files;  // columns that have a usual name of a column of files
    for (const std::string& column : columns) {
      if (!can_be_head(column) || column == fairface_extra_column) continue;
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
      found.notes.push_back(fmt::format("{}: passed over, as they name files as '{}' does: {}; --heads takes them", csv,
                                        printable(found.file_column), list_of(files)));
    }
  }
  if (found.heads.empty()) {
    throw Error(fmt::format("{}: no column but '{}'; each head needs one", csv, printable(found.file_column)));
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
  if (contains(heads, "")) throw Error(fmt::format("{}: a head without a name requested", csv));
  const bool may_be_missing = options.allow_missing && !options.expected.empty() && options.label_column.empty();
  if (may_be_missing && present.empty()) {
    throw Error(fmt::format("{}: no column for any of the model's heads, {}; those that there are: {}", csv,
                            list_of(heads), list_of(allowed)));
  }
  for (const HeadColumn& head : found.heads) {
    if (head.position || may_be_missing) continue;
    throw Error(fmt::format("{}: no column for head '{}'; those that there are: {}", csv, printable(head.column),
                            list_of(allowed)));
  }
  return found;
}

bool is_fairface(const std::vector<std::string>& declared) {
  return declared.size() == 1 && base::lower_case(declared[0]) == "fairface";
}

void require_declared_classes(const std::string& csv, const std::vector<HeadColumn>& heads,
                              const ManifestOptions& options) {
  Names names;
  for (const HeadColumn& head : heads) names.push_back(head.head);
  for (const auto& [head, classes] : options.classes) {
    if (!contains(names, head)) {
      throw Error(fmt::format("{}: classes declared for '{}', which is none of the heads: {}", csv, printable(head),
                              list_of(names)));
    }
    if (is_fairface(classes)) continue;
    if (classes.size() < 2) {
      throw Error(fmt::format("{}: {} class declared for head '{}'; at least two are needed, or fairface", csv,
                              classes.size(), printable(head)));
    }
    require_named_heads(csv, {{head, classes}});
  }
}

}  // namespace facet::data
