#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "facet/dataset.h"
#include "facet/export.h"
#include "facet/source.h"

namespace facet {

struct ManifestOptions {
  std::filesystem::path root = {};      ///< folder that the files are relative to; empty: the CSV's folder
  std::vector<std::string> heads = {};  ///< label columns; empty: all except files, `service_test` and identifiers
  /// Declared classes by head, in the order of the logits; {"fairface"}: FairFace's set that the labels belong to.
  std::map<std::string, std::vector<std::string>> classes = {};
  std::vector<Head> expected = {};  ///< the heads of a model: columns and classes must match them, in their order
  std::string file_column = {};     ///< column of image files; empty: `file`, or another usual name
  /// The column with the labels of the only head, which takes the column's name unless `expected` names it; empty: each
  /// head has the name of its column.
  std::string label_column = {};
  /// Column of the images' weights, which are numbers of at least 0, for a WeightedRandomSampler (see
  /// ImageSource::weight). It is a head only if `heads` names it. Empty: all weights are 1.
  std::string weight_column = {};
  /// Allows heads of `expected` to lack a column, as long as one head has one. No image has a label for such heads, and
  /// a note names them.
  bool allow_missing = false;
  /// Whether backslashes in file names separate folders; empty: the files decide (see ManifestSource).
  std::optional<bool> backslashes = {};
};

/// Reads the text of a CSV file, for processes that share it: one reads it and passes it on to the others.
/// @throws Error naming the file when it can't be read or is longer than 8 GiB.
FACET_EXPORT std::string read_manifest(const std::filesystem::path& csv);

/// The images and labels of a CSV file with a column of image files and one column for each head (FairFace's own files
/// work unchanged).
///
/// Unless the options name the column of image files, it is `file`, or otherwise the first of file, image, path,
/// filename, file_name, filepath, image_path and img that exists, in upper or lower case. If the first file name that
/// contains a backslash doesn't exist literally, backslashes are taken as folder separators, as on Windows. Fields are
/// separated by commas, or by semicolons or tabs if the header has no comma.
///
/// The classes of a head are, in order of precedence: those of `expected`; the declared ones; for a column called age,
/// gender or race (in upper or lower case) whose values all belong to FairFace's set of that name, that whole set in
/// its canonical order; otherwise the column's values, sorted. Values are sorted as numbers if all are whole numbers
/// (also written as "3.0"), so that each of 0, 1, ..., n - 1 is its own index, and as text otherwise. "007" and "7" are
/// two classes. FairFace's aliases (70+ for "more than 70"; 9-Mar and 19-Oct, as a spreadsheet mangles 3-9 and 10-19)
/// count as the class that they stand for. An empty field means no label. "3" and "3.0" are the same label if only one
/// of them is a class. Spaces around labels are removed.
///
/// Columns without a name (a data frame's index) are ignored. Unless they are requested or their classes are declared,
/// two further kinds of columns are ignored too: other columns with a usual name of a file column, and identifiers,
/// which are columns of more than 50 different values with on average fewer than two rows for each value.
class FACET_EXPORT ManifestSource final : public ImageSource {
 public:
  /// Reads the CSV file.
  /// @throws Error naming the file, its line, the value found and those allowed.
  explicit ManifestSource(const std::filesystem::path& csv, const ManifestOptions& options = {});
  /// Takes `text` as the content of the CSV file, which isn't read; see read_manifest(). @throws Error as above.
  ManifestSource(const std::filesystem::path& csv, std::string text, const ManifestOptions& options);
  ~ManifestSource() override;
  ManifestSource(const ManifestSource&) = delete;
  ManifestSource& operator=(const ManifestSource&) = delete;

  std::int64_t size() const override;
  const std::vector<Head>& heads() const override;
  /// labels(), read(), name(), place(), line() and path() throw Error when there is no image `index`.
  std::span<const std::int32_t> labels(std::int64_t index) const override;
  EncodedImage read(std::int64_t index) const override;
  /// Returns the path of the CSV file, in printable form.
  std::string title() const override;
  /// Returns the file as written in the CSV.
  std::string name(std::int64_t index) const override;
  /// Returns the CSV, the line and the path of the image's file.
  std::string place(std::int64_t index) const override;
  /// Returns the image's line number in the CSV, counted from 1.
  std::int64_t line(std::int64_t index) const override;
  /// Returns the path of the image's file, which starts with the root folder.
  std::filesystem::path path(std::int64_t index) const override;
  double weight(std::int64_t index) const override;
  /// Notes are on FairFace's classes, mangled age bins and ignored columns.
  std::vector<std::string> notes() const override;
  /// Lists each folder and opens no file. For a folder that can't be listed, or whose listing omits a file that exists,
  /// no image is returned.
  std::vector<std::int64_t> missing(std::chrono::milliseconds limit) const override;
  /// Returns whether backslashes in file names separate folders.
  bool has_backslashes() const;

 private:
  struct FACET_NO_EXPORT State;
  FACET_NO_EXPORT std::size_t checked(std::int64_t index) const;
  std::unique_ptr<State> state_;
};

/// The data set of a ManifestSource.
class FACET_EXPORT ManifestDataset final : public SourceDataset {
 public:
  /// Reads the CSV file.
  /// @throws Error naming the file, its line, the value found and those allowed.
  explicit ManifestDataset(const std::filesystem::path& csv, const ManifestOptions& options = {});
};

}  // namespace facet
