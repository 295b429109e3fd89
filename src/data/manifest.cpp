#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <new>
#include <optional>

#include "data/csv.h"
#include "data/decode.h"
#include "data/fairface.h"
#include "data/image_checks.h"
#include "data/labels.h"
#include "data/manifest_columns.h"
#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/image.h"
#include "facet/text.h"
#include "facet/threads.h"

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

struct ManifestDataset::State {
  std::string csv;  // printable
  std::filesystem::path root;
  std::vector<Head> heads;
  std::vector<std::string> files;  // as the CSV has them
  bool backslashes = false;        // whether backslashes separate folders in `files`
  std::vector<std::int64_t> lines;
  std::vector<std::int32_t> labels;  // {images, heads}
  Names notes;
  std::mutex warnings_mutex;
  std::map<std::int64_t, BadImage> warnings;  // by line

  void record_warning(std::size_t image, std::string text) {
    if (text.empty()) return;
    const std::lock_guard lock(warnings_mutex);
    warnings.try_emplace(lines[image], BadImage{lines[image], files[image], std::move(text)});
  }
  std::vector<data::LabelColumn> read_rows(data::CsvReader& reader, const data::ManifestColumns& columns);
  void read_windows_paths();
  void ignore_identifiers(std::vector<data::LabelColumn>& columns, const ManifestOptions& options);
  Names choose_classes(const data::LabelColumn& column, const ManifestOptions& options, Names& fairface);
  void set_heads(const std::vector<data::LabelColumn>& columns, const ManifestOptions& options);

  std::string file(std::size_t index) const { return backslashes ? with_slashes(files[index]) : files[index]; }
  void note(const std::string& text) { notes.push_back(fmt::format("{}: {}", csv, text)); }
};

std::vector<data::LabelColumn> ManifestDataset::State::read_rows(data::CsvReader& reader,
                                                                 const data::ManifestColumns& columns) {
  std::vector<data::LabelColumn> found;
  for (const data::HeadColumn& head : columns.heads) found.emplace_back(csv, head.column);
  const std::string none;
  for (data::CsvRow row; reader.next(row);) {
    if (row.fields.size() != columns.count) {
      throw Error(fmt::format("{}:{}: the row has {} fields; the header has {}", csv, row.line, row.fields.size(),
                              columns.count));
    }
    if (row.fields[columns.file].empty()) throw Error(fmt::format("{}:{}: the row names no file", csv, row.line));
    files.push_back(row.fields[columns.file]);
    lines.push_back(row.line);
    for (std::size_t h = 0; h < found.size(); ++h) {
      const std::optional<std::size_t> position = columns.heads[h].position;
      found[h].add(position ? data::trimmed(row.fields[*position]) : none, row.line);
    }
  }
  if (files.empty()) throw Error(fmt::format("{}: the file has a header, but no rows", csv));
  return found;
}

/// A backslash may be part of a file name on this system. The first file with a backslash decides: if no file of
/// exactly that name exists, the CSV is taken as written on Windows.
void ManifestDataset::State::read_windows_paths() {
  const auto first = std::find_if(files.begin(), files.end(),
                                  [](const std::string& file) { return file.find('\\') != std::string::npos; });
  std::error_code ignored;
  backslashes = first != files.end() && !std::filesystem::exists(root / *first, ignored);
  if (backslashes) note("backslashes in file names separate folders, as on Windows");
  const auto absolute = std::find_if(files.begin(), files.end(),
                                     [&](const std::string& file) { return is_windows_path(file, backslashes); });
  if (absolute == files.end()) return;
  throw Error(
      fmt::format("{}:{}: '{}' is an absolute Windows path; paths relative to the CSV's folder, or to that of --root, "
                  "are needed",
                  csv, lines[static_cast<std::size_t>(absolute - files.begin())], printable(*absolute)));
}

/// Removes columns that identify images, unless their classes are declared: as heads they would have a class for nearly
/// every image.
void ManifestDataset::State::ignore_identifiers(std::vector<data::LabelColumn>& columns,
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
  if (columns.empty()) throw Error(fmt::format("{}: there is no column for a head; {}", csv, text));
  note(text);
}

/// Chooses the classes of a head when there is no model that determines them.
/// @param fairface receives the column's name if the classes are FairFace's.
Names ManifestDataset::State::choose_classes(const data::LabelColumn& column, const ManifestOptions& options,
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

void ManifestDataset::State::set_heads(const std::vector<data::LabelColumn>& columns, const ManifestOptions& options) {
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

ManifestDataset::ManifestDataset(const std::filesystem::path& csv, const ManifestOptions& options)
    : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.csv = printable(csv.string());
  state.root = options.root.empty() ? csv.parent_path() : options.root;
  require_named_heads(state.csv, options.expected);
  try {
    data::CsvReader reader(csv);
    const data::ManifestColumns columns =
        data::read_columns(state.csv, reader, options, data::fairface_extra_columns());
    require_declared_classes(state.csv, columns.heads, options);
    state.notes = columns.notes;
    std::vector<data::LabelColumn> found = state.read_rows(reader, columns);
    state.read_windows_paths();
    if (!columns.heads_are_chosen) state.ignore_identifiers(found, options);
    state.set_heads(found, options);
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("{}: out of memory while the manifest is read", state.csv));
  }
}

ManifestDataset::~ManifestDataset() = default;
ManifestDataset::ManifestDataset(ManifestDataset&&) noexcept = default;

ManifestDataset::State& ManifestDataset::state() const {
  if (!state_) throw Error("the manifest was moved to another object and can't be used any more");
  return *state_;
}

std::size_t ManifestDataset::checked(std::int64_t index) const {
  data::require_index(state().csv, index, size());
  return static_cast<std::size_t>(index);
}

std::int64_t ManifestDataset::size() const { return static_cast<std::int64_t>(state().files.size()); }

const std::vector<Head>& ManifestDataset::heads() const { return state().heads; }

std::span<const std::int32_t> ManifestDataset::labels(std::int64_t index) const {
  const std::size_t heads = state().heads.size();
  return std::span(state().labels).subspan(checked(index) * heads, heads);
}

void ManifestDataset::load(std::int64_t index, int size, ResizeMode mode, std::span<std::uint8_t> pixels) const {
  const std::filesystem::path file = path(index);
  const auto fail = [&](const char* reason) {
    throw Error(fmt::format("{}:{}: {}: {}", state().csv, line(index), printable(file.string()), reason));
  };
  try {
    data::DecodedImage decoded = data::decode_image_file(file, resized_side(size, mode));
    resize(decoded.image, size, mode, pixels);
    state().record_warning(static_cast<std::size_t>(index), std::move(decoded.warning));
  } catch (const Error& error) {
    fail(error.what());
  } catch (const std::bad_alloc&) {
    fail("out of memory while it is decoded");
  }
}

std::string ManifestDataset::name(std::int64_t index) const { return state().files[checked(index)]; }

std::filesystem::path ManifestDataset::path(std::int64_t index) const {
  return state().root / state().file(checked(index));
}

std::int64_t ManifestDataset::line(std::int64_t index) const { return state().lines[checked(index)]; }

const std::vector<std::string>& ManifestDataset::notes() const { return state().notes; }

std::vector<ManifestDataset::BadImage> ManifestDataset::warnings() const {
  const std::lock_guard lock(state().warnings_mutex);
  std::vector<BadImage> all;
  for (const auto& [line, image] : state().warnings) all.push_back(image);
  return all;
}

std::vector<ManifestDataset::BadImage> ManifestDataset::missing_files(std::chrono::milliseconds limit) const {
  const State& state = this->state();
  Names converted;
  for (std::size_t i = 0; state.backslashes && i < state.files.size(); ++i) converted.push_back(state.file(i));
  std::vector<BadImage> missing;
  for (const std::size_t i : data::missing_files(state.root, state.backslashes ? converted : state.files, limit)) {
    missing.push_back({state.lines[i], state.files[i], "no such file"});
  }
  return missing;
}

std::vector<ManifestDataset::BadImage> ManifestDataset::drop_bad_images(
    int threads, const std::function<void(std::int64_t)>& progress) {
  State& state = this->state();
  if (threads < 0 || threads > max_threads) {
    throw Error(fmt::format("{}: {} threads to check images are requested; 0 to {} are allowed", state.csv, threads,
                            max_threads));
  }
  std::vector<data::CheckedImage> checked;
  try {
    checked = data::check_images(
        size(), [this](std::int64_t index) { return path(index); }, threads, progress);
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("{}: out of memory while its images are checked", state.csv));
  }
  const std::size_t heads = state.heads.size();
  std::vector<BadImage> bad;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < checked.size(); ++i) {
    if (!checked[i].error.empty()) {
      bad.push_back({state.lines[i], state.files[i], checked[i].error});
      continue;
    }
    state.record_warning(i, std::move(checked[i].warning));
    if (kept != i) state.files[kept] = std::move(state.files[i]);
    state.lines[kept] = state.lines[i];
    std::copy_n(&state.labels[i * heads], heads, &state.labels[kept * heads]);
    ++kept;
  }
  state.files.resize(kept);
  state.lines.resize(kept);
  state.labels.resize(kept * heads);
  return bad;
}

}  // namespace facet
