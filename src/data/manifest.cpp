#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <new>

#include "base/cpus.h"
#include "base/text.h"
#include "data/bad_images.h"
#include "data/csv.h"
#include "data/decode.h"
#include "data/label_column.h"
#include "data/labels.h"
#include "data/missing_files.h"
#include "facet/data.h"
#include "facet/error.h"

namespace facet {
namespace {

using base::printable;
using data::list_of;
using Names = std::vector<std::string>;

constexpr const char* file_column = "file";
constexpr const char* fairface_extra_column = "service_test";

bool contains(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void require_distinct(const std::string& where, const std::string& what, Names names) {
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) throw Error(fmt::format("{}: {} '{}' stands there twice", where, what, printable(*twice)));
}

/// The header's names; columns without one (a data frame's index) are kept, as empty, and never read.
Names read_header(data::CsvReader& reader, const std::string& csv) {
  data::CsvRow row;
  if (!reader.next(row)) throw Error(fmt::format("{}: is empty; a header with a 'file' column is needed", csv));
  Names columns;
  Names named;
  for (const std::string& field : row.fields) {
    columns.push_back(data::trimmed(field));
    if (!columns.back().empty()) named.push_back(columns.back());
  }
  const std::string where = fmt::format("{}:{}", csv, row.line);
  require_distinct(where, "column", named);
  if (!contains(columns, file_column)) {
    throw Error(fmt::format("{}: no column '{}'; the columns are: {}", where, file_column, list_of(named)));
  }
  return columns;
}

/// Which columns are heads, in the order of the logits.
Names choose_heads(const std::string& csv, const Names& columns, const ManifestOptions& options) {
  Names heads = options.heads;
  if (!options.expected.empty()) {
    const Names expected = data::names_of(options.expected);
    if (!heads.empty() && heads != expected) {
      throw Error(fmt::format("{}: heads {} asked for; the model has {}", csv, list_of(heads), list_of(expected)));
    }
    heads = expected;
  }
  if (heads.empty()) {
    for (const std::string& column : columns) {
      if (!column.empty() && column != file_column && column != fairface_extra_column) heads.push_back(column);
    }
  }
  if (heads.empty()) throw Error(fmt::format("{}: no column but '{}'; each head needs one", csv, file_column));
  require_distinct(csv, "head", heads);
  if (contains(heads, "")) throw Error(fmt::format("{}: a head without a name asked for", csv));
  for (const std::string& head : heads) {
    if (head == file_column || !contains(columns, head)) {
      Names allowed = columns;
      std::erase_if(allowed, [](const std::string& name) { return name.empty() || name == file_column; });
      throw Error(
          fmt::format("{}: no column for head '{}'; those that there are: {}", csv, printable(head), list_of(allowed)));
    }
  }
  return heads;
}

void check_declared_classes(const std::string& csv, const Names& heads, const ManifestOptions& options) {
  for (const auto& [head, classes] : options.classes) {
    if (!contains(heads, head)) {
      throw Error(fmt::format("{}: classes declared for '{}', which is none of the heads: {}", csv, printable(head),
                              list_of(heads)));
    }
    if (classes.size() < 2) {
      throw Error(fmt::format("{}: {} class declared for head '{}'; at least two are needed", csv, classes.size(),
                              printable(head)));
    }
    data::require_named_heads(csv, {{head, classes}});
  }
}

Names choose_classes(const data::LabelColumn& column, std::size_t head, const ManifestOptions& options) {
  if (!options.expected.empty()) return options.expected[head].classes;
  const auto declared = options.classes.find(column.name());
  return declared != options.classes.end() ? declared->second : column.own_classes();
}

}  // namespace

struct ManifestDataset::State {
  std::string csv;  // printable
  std::filesystem::path root;
  std::vector<Head> heads;
  std::vector<std::string> files;
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
  std::vector<data::LabelColumn> read_rows(data::CsvReader& reader, const Names& columns, const Names& names);
  void set_heads(const std::vector<data::LabelColumn>& columns, const ManifestOptions& options);
};

std::vector<data::LabelColumn> ManifestDataset::State::read_rows(data::CsvReader& reader, const Names& columns,
                                                                 const Names& names) {
  const auto position = [&](const std::string& name) {
    return static_cast<std::size_t>(std::find(columns.begin(), columns.end(), name) - columns.begin());
  };
  const std::size_t file = position(file_column);
  std::vector<data::LabelColumn> found;
  std::vector<std::size_t> positions;
  for (const std::string& name : names) {
    found.emplace_back(csv, name);
    positions.push_back(position(name));
  }
  for (data::CsvRow row; reader.next(row);) {
    if (row.fields.size() != columns.size()) {
      throw Error(fmt::format("{}:{}: {} fields; the header has {}", csv, row.line, row.fields.size(), columns.size()));
    }
    if (row.fields[file].empty()) throw Error(fmt::format("{}:{}: no file is named", csv, row.line));
    files.push_back(row.fields[file]);
    lines.push_back(row.line);
    for (std::size_t h = 0; h < found.size(); ++h) found[h].add(data::trimmed(row.fields[positions[h]]), row.line);
  }
  if (files.empty()) throw Error(fmt::format("{}: a header, but no rows", csv));
  return found;
}

void ManifestDataset::State::set_heads(const std::vector<data::LabelColumn>& columns, const ManifestOptions& options) {
  labels.resize(files.size() * columns.size());
  for (std::size_t h = 0; h < columns.size(); ++h) {
    heads.push_back({columns[h].name(), choose_classes(columns[h], h, options)});
    const auto indices = columns[h].indices(heads[h].classes);
    for (std::size_t i = 0; i < indices.size(); ++i) labels[i * columns.size() + h] = indices[i];
    if (std::string note = columns[h].note_on_ages(heads[h].classes); !note.empty()) notes.push_back(std::move(note));
  }
}

ManifestDataset::ManifestDataset(const std::filesystem::path& csv, const ManifestOptions& options)
    : state_(std::make_unique<State>()) {
  state_->csv = printable(csv.string());
  state_->root = options.root.empty() ? csv.parent_path() : options.root;
  data::require_named_heads(state_->csv, options.expected);
  try {
    data::CsvReader reader(csv);
    const Names columns = read_header(reader, state_->csv);
    const Names heads = choose_heads(state_->csv, columns, options);
    check_declared_classes(state_->csv, heads, options);
    state_->set_heads(state_->read_rows(reader, columns, heads), options);
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("{}: out of memory", state_->csv));
  }
}

ManifestDataset::~ManifestDataset() = default;
ManifestDataset::ManifestDataset(ManifestDataset&&) noexcept = default;

ManifestDataset::State& ManifestDataset::state() const {
  if (!state_) throw Error("the manifest was moved to another object, and holds nothing any more");
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

void ManifestDataset::load(std::int64_t index, int size, std::span<std::uint8_t> pixels) const {
  const std::filesystem::path file = path(index);
  const auto fail = [&](const char* reason) {
    throw Error(fmt::format("{}:{}: {}: {}", state().csv, line(index), printable(file.string()), reason));
  };
  try {
    data::DecodedImage decoded = data::decode_image_file(file, size);
    resize(decoded.image, size, pixels);
    state().record_warning(static_cast<std::size_t>(index), std::move(decoded.warning));
  } catch (const Error& error) {
    fail(error.what());
  } catch (const std::bad_alloc&) {
    fail("out of memory while it is decoded");
  }
}

std::string ManifestDataset::name(std::int64_t index) const { return state().files[checked(index)]; }

std::filesystem::path ManifestDataset::path(std::int64_t index) const {
  return state().root / state().files[checked(index)];
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
  std::vector<BadImage> missing;
  for (const std::size_t i : data::missing_files(state().root, state().files, limit)) {
    missing.push_back({state().lines[i], state().files[i], "no such file"});
  }
  return missing;
}

std::vector<ManifestDataset::BadImage> ManifestDataset::drop_bad_images(
    int threads, const std::function<void(std::int64_t)>& progress) {
  State& state = this->state();
  if (threads < 0 || threads > base::most_threads) {
    throw Error(
        fmt::format("{}: {} threads to check images; 0 to {} are allowed", state.csv, threads, base::most_threads));
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
