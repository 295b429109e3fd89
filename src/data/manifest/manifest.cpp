#include "facet/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <new>
#include <optional>
#include <system_error>
#include <utility>

#include "data/decode/decode.h"
#include "data/fairface.h"
#include "data/labels.h"
#include "data/manifest/csv.h"
#include "data/manifest/manifest_columns.h"
#include "data/manifest/missing_files.h"
#include "facet/error.h"
#include "facet/text.h"

namespace facet {
namespace {

using Names = std::vector<std::string>;

/// Whether `file` is an absolute Windows path: C:\faces\1.jpg or C:/faces/1.jpg; if backslashes separate folders, also
/// \\server\faces\1.jpg.
bool is_windows_path(const std::string& file, bool backslashes) {
  const auto is_separator = [&](std::size_t at) { return file[at] == '/' || (backslashes && file[at] == '\\'); };
  const bool drive = file.size() > 2 && ((file[0] >= 'A' && file[0] <= 'Z') || (file[0] >= 'a' && file[0] <= 'z')) &&
                     file[1] == ':' && is_separator(2);
  return drive || (backslashes && file.starts_with('\\'));
}

std::string with_slashes(std::string file) {
  std::replace(file.begin(), file.end(), '\\', '/');
  return file;
}

/// @throws Error naming file, head and classes unless classes are declared for existing heads only, and are valid.
void require_declared_classes(const std::string& csv, const std::vector<data::HeadColumn>& heads,
                              const ManifestOptions& options) {
  Names names;
  for (const data::HeadColumn& head : heads) names.push_back(head.head);
  for (const auto& [head, classes] : options.classes) {
    if (std::find(names.begin(), names.end(), head) == names.end()) {
      throw Error(fmt::format("{}: classes are declared for '{}', which is none of the heads: {}", csv, printable(head),
                              list_of(names)));
    }
    if (data::declares_fairface(classes)) continue;
    if (classes.size() < 2) {
      throw Error(fmt::format("{}: {} classes are declared for head '{}'; at least 2 are needed, or fairface", csv,
                              classes.size(), printable(head)));
    }
    require_named_heads(csv, {{head, classes}});
  }
}

}  // namespace

struct ManifestSource::State {
  std::string csv;  // printable
  std::filesystem::path root;
  std::vector<Head> heads;
  std::vector<std::string> files;  // as the CSV has them
  bool backslashes = false;        // whether backslashes separate folders in `files`
  std::vector<std::int64_t> lines;
  std::vector<double> weights;       // empty: all are 1
  std::vector<std::int32_t> labels;  // {images, heads}
  Names notes;

  double parse_weight(const std::string& field, std::int64_t line, const std::string& column) const;
  std::vector<data::LabelColumn> read_rows(data::CsvReader& reader, const data::ManifestColumns& columns,
                                           const std::string& weight_column);
  void read_windows_paths(const std::optional<bool>& requested);
  void ignore_identifiers(std::vector<data::LabelColumn>& columns, const ManifestOptions& options);
  Names choose_classes(const data::LabelColumn& column, const ManifestOptions& options, Names& fairface);
  void set_heads(const std::vector<data::LabelColumn>& columns, const ManifestOptions& options);

  std::string file(std::size_t index) const { return backslashes ? with_slashes(files[index]) : files[index]; }
  void note(const std::string& text) { notes.push_back(fmt::format("{}: {}", csv, text)); }
};

double ManifestSource::State::parse_weight(const std::string& field, std::int64_t line,
                                           const std::string& column) const {
  const std::string text = data::trimmed(field);
  double weight = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(weight) && weight >= 0) return weight;
  throw Error(fmt::format("{}:{}: the weight in column '{}' is '{}'; a number of at least 0 is needed", csv, line,
                          printable(column), printable(text)),
              ErrorCode::invalid_data);
}

std::vector<data::LabelColumn> ManifestSource::State::read_rows(data::CsvReader& reader,
                                                                const data::ManifestColumns& columns,
                                                                const std::string& weight_column) {
  std::vector<data::LabelColumn> found;
  for (const data::HeadColumn& head : columns.heads) found.emplace_back(csv, head.column);
  const std::string none;
  for (data::CsvRow row; reader.next(row);) {
    if (row.fields.size() != columns.count) {
      throw Error(fmt::format("{}:{}: the row has {} fields; the header has {}", csv, row.line, row.fields.size(),
                              columns.count),
                  ErrorCode::invalid_data);
    }
    if (row.fields[columns.file].empty())
      throw Error(fmt::format("{}:{}: the row names no file", csv, row.line), ErrorCode::invalid_data);
    files.push_back(row.fields[columns.file]);
    lines.push_back(row.line);
    if (columns.weight) weights.push_back(parse_weight(row.fields[*columns.weight], row.line, weight_column));
    for (std::size_t h = 0; h < found.size(); ++h) {
      const std::optional<std::size_t> position = columns.heads[h].position;
      found[h].add(position ? data::trimmed(row.fields[*position]) : none, row.line);
    }
  }
  if (files.empty()) throw Error(fmt::format("{}: the file has a header, but no rows", csv), ErrorCode::invalid_data);
  return found;
}

/// A backslash may be part of a file name on this system. The first file with a backslash decides: if no file of
/// exactly that name exists, the CSV is taken as written on Windows.
void ManifestSource::State::read_windows_paths(const std::optional<bool>& requested) {
  const auto first = std::find_if(files.begin(), files.end(),
                                  [](const std::string& file) { return file.find('\\') != std::string::npos; });
  std::error_code ignored;
  backslashes = first != files.end() && requested.value_or(!std::filesystem::exists(root / *first, ignored));
  if (backslashes) note("backslashes in file names separate folders, as on Windows");
  const auto absolute = std::find_if(files.begin(), files.end(),
                                     [&](const std::string& file) { return is_windows_path(file, backslashes); });
  if (absolute == files.end()) return;
  throw Error(
      fmt::format("{}:{}: '{}' is an absolute Windows path; paths relative to the CSV's folder, or to that of --root, "
                  "are needed",
                  csv, lines[static_cast<std::size_t>(absolute - files.begin())], printable(*absolute)),
      ErrorCode::invalid_data);
}

/// Removes columns that identify images, unless their classes are declared: as heads they would have a class for nearly
/// every image.
void ManifestSource::State::ignore_identifiers(std::vector<data::LabelColumn>& columns,
                                               const ManifestOptions& options) {
  Names ignored;
  std::erase_if(columns, [&](const data::LabelColumn& column) {
    if (!column.is_identifier() || options.classes.contains(column.name())) return false;
    ignored.push_back(fmt::format("{} ({} values in {} rows)", column.name(), column.distinct(), column.labelled()));
    return true;
  });
  if (ignored.empty()) return;
  const std::string text =
      fmt::format("columns ignored as identifiers, with fewer than two rows per value: {}; --heads requests them",
                  list_of(ignored));
  if (columns.empty())
    throw Error(fmt::format("{}: there is no column for a head; {}", csv, text), ErrorCode::invalid_data);
  note(text);
}

/// Chooses the classes of a head when there is no model that determines them.
/// @param fairface receives the column's name if the classes are FairFace's.
Names ManifestSource::State::choose_classes(const data::LabelColumn& column, const ManifestOptions& options,
                                            Names& fairface) {
  const auto declared = options.classes.find(column.name());
  if (declared != options.classes.end() && !data::declares_fairface(declared->second)) return declared->second;
  Names known =
      declared != options.classes.end() ? data::fairface_classes(column) : data::fairface_classes_by_name(column);
  if (!known.empty()) {
    fairface.push_back(column.name());
    return known;
  }
  if (std::string text = data::hint_on_ages(column); !text.empty()) notes.push_back(std::move(text));
  return column.classes_from_labels();
}

void ManifestSource::State::set_heads(const std::vector<data::LabelColumn>& columns, const ManifestOptions& options) {
  labels.resize(files.size() * columns.size());
  Names fairface, unlabelled;
  for (std::size_t h = 0; h < columns.size(); ++h) {
    const data::LabelColumn& column = columns[h];
    heads.push_back(options.expected.empty() ? Head{column.name(), choose_classes(column, options, fairface)}
                                             : options.expected[h]);
    const Names& classes = heads[h].classes;
    if (options.allow_missing && column.labelled() == 0) unlabelled.push_back(heads[h].name);
    const auto indices = column.indices(classes, data::resolve_fairface_alias);
    for (std::size_t i = 0; i < indices.size(); ++i) labels[i * columns.size() + h] = indices[i];
    if (std::string text = data::note_on_ages(column, classes); !text.empty()) notes.push_back(std::move(text));
  }
  if (!fairface.empty()) {
    note(
        fmt::format("FairFace's classes, in its order, are used for {}; --classes declares others", list_of(fairface)));
  }
  if (!unlabelled.empty()) note(fmt::format("no labels for these heads of the model: {}", list_of(unlabelled)));
}

std::string read_manifest(const std::filesystem::path& csv) { return data::read_csv(csv); }

ManifestSource::ManifestSource(const std::filesystem::path& csv, const ManifestOptions& options)
    : ManifestSource(csv, read_manifest(csv), options) {}

ManifestSource::ManifestSource(const std::filesystem::path& csv, std::string text, const ManifestOptions& options)
    : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.csv = printable(csv.string());
  state.root = options.root.empty() ? csv.parent_path() : options.root;
  require_named_heads(state.csv, options.expected);
  try {
    data::CsvReader reader(csv, std::move(text));
    const data::ManifestColumns columns =
        data::read_columns(state.csv, reader, options, data::fairface_extra_columns());
    require_declared_classes(state.csv, columns.heads, options);
    state.notes = columns.notes;
    std::vector<data::LabelColumn> found = state.read_rows(reader, columns, options.weight_column);
    state.read_windows_paths(options.backslashes);
    if (!columns.heads_are_chosen) state.ignore_identifiers(found, options);
    state.set_heads(found, options);
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("{}: out of memory while the manifest is read", state.csv), ErrorCode::out_of_memory);
  }
}

ManifestSource::~ManifestSource() = default;

std::size_t ManifestSource::checked(std::int64_t index) const {
  data::require_index(state_->csv, index, size());
  return static_cast<std::size_t>(index);
}

std::int64_t ManifestSource::size() const { return std::ssize(state_->files); }

const std::vector<Head>& ManifestSource::heads() const { return state_->heads; }

std::span<const std::int32_t> ManifestSource::labels(std::int64_t index) const {
  const std::size_t heads = state_->heads.size();
  return std::span(state_->labels).subspan(checked(index) * heads, heads);
}

EncodedImage ManifestSource::read(std::int64_t index) const {
  return encoded_image(data::read_image_file(path(index)));
}

std::string ManifestSource::title() const { return state_->csv; }

std::string ManifestSource::name(std::int64_t index) const { return state_->files[checked(index)]; }

std::string ManifestSource::place(std::int64_t index) const {
  return fmt::format("{}:{}: {}", state_->csv, line(index), printable(path(index).string()));
}

std::int64_t ManifestSource::line(std::int64_t index) const { return state_->lines[checked(index)]; }

std::filesystem::path ManifestSource::path(std::int64_t index) const {
  return state_->root / state_->file(checked(index));
}

double ManifestSource::weight(std::int64_t index) const {
  const std::size_t image = checked(index);
  return state_->weights.empty() ? 1 : state_->weights[image];
}

std::vector<std::string> ManifestSource::notes() const { return state_->notes; }

std::vector<std::int64_t> ManifestSource::missing(std::chrono::milliseconds limit) const {
  Names converted;
  for (std::size_t i = 0; state_->backslashes && i < state_->files.size(); ++i) converted.push_back(state_->file(i));
  const std::vector<std::size_t> found =
      data::missing_files(state_->root, state_->backslashes ? converted : state_->files, limit);
  return {found.begin(), found.end()};
}

bool ManifestSource::has_backslashes() const { return state_->backslashes; }

ManifestDataset::ManifestDataset(const std::filesystem::path& csv, const ManifestOptions& options)
    : SourceDataset(std::make_shared<const ManifestSource>(csv, options)) {}

}  // namespace facet
