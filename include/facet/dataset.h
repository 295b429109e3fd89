#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "facet/export.h"
#include "facet/image.h"

namespace facet {

/// A classification head: its name (such as "age") and its classes, in the order of the logits.
struct Head {
  std::string name = {};
  std::vector<std::string> classes = {};
  bool operator==(const Head&) const = default;
};

/// Returns the names of the heads, in order.
FACET_EXPORT std::vector<std::string> names_of(const std::vector<Head>& heads);

/// Checks heads as every data set and model file needs them.
/// @param where what messages begin with.
/// @throws Error unless the heads, and the classes of each head, have distinct names in UTF-8, and each head has at
///   least one class.
FACET_EXPORT void require_named_heads(const std::string& where, const std::vector<Head>& heads);

/// The label of an image that has no label for a head.
inline constexpr std::int32_t no_label = -1;

/// A data set of labelled images. Const members are thread-safe. A data set must not be changed or destroyed while a
/// Loader, a Trainer or evaluate() uses it.
class FACET_EXPORT Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::int64_t size() const = 0;
  virtual const std::vector<Head>& heads() const = 0;
  /// Returns the labels of image `index`, one for each head: an index into its classes, or no_label.
  virtual std::span<const std::int32_t> labels(std::int64_t index) const = 0;
  /// Writes image `index` as 8-bit RGB of {size, size, 3}, resized as facet::resize does.
  /// @throws Error naming the image (and its line in the manifest) when it can't be read.
  virtual void load(std::int64_t index, int size, ResizeMode mode, std::span<std::uint8_t> pixels) const = 0;
  /// Returns the name of image `index` for messages and predictions: for a manifest, the file as written in the CSV.
  virtual std::string name(std::int64_t index) const = 0;
};

/// A data set that is held in memory.
class FACET_EXPORT MemoryDataset final : public Dataset {
 public:
  /// @throws Error unless the heads, and the classes of each head, have distinct names in UTF-8, and each head has at
  ///   least one class.
  explicit MemoryDataset(std::vector<Head> heads);
  /// Adds an image with one label for each head.
  /// @throws Error when the image's pixel count or a label is out of range.
  void add(Image image, std::vector<std::int32_t> labels);

  std::int64_t size() const override;
  const std::vector<Head>& heads() const override;
  /// labels(), load() and name() throw Error when there is no image `index`.
  std::span<const std::int32_t> labels(std::int64_t index) const override;
  void load(std::int64_t index, int size, ResizeMode mode, std::span<std::uint8_t> pixels) const override;
  std::string name(std::int64_t index) const override;

 private:
  std::vector<Head> heads_;
  std::vector<Image> images_;
  std::vector<std::int32_t> labels_;
};

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
  /// Allows heads of `expected` to lack a column, as long as one head has one. No image has a label for such heads, and
  /// a note names them.
  bool allow_missing = false;
};

/// A data set described by a CSV file with a column of image files and one column for each head (FairFace's own files
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
///
/// All members throw Error when there is no image `index`, or when the data set was moved from.
class FACET_EXPORT ManifestDataset final : public Dataset {
 public:
  /// Reads the CSV file.
  /// @throws Error naming the file, its line, the value found and those allowed.
  explicit ManifestDataset(const std::filesystem::path& csv, const ManifestOptions& options = {});
  ~ManifestDataset() override;
  ManifestDataset(ManifestDataset&&) noexcept;

  std::int64_t size() const override;
  const std::vector<Head>& heads() const override;
  std::span<const std::int32_t> labels(std::int64_t index) const override;
  void load(std::int64_t index, int size, ResizeMode mode, std::span<std::uint8_t> pixels) const override;
  std::string name(std::int64_t index) const override;

  /// Returns the path of the image's file, which starts with the root folder.
  std::filesystem::path path(std::int64_t index) const;
  /// Returns the image's line number in the CSV, counted from 1.
  std::int64_t line(std::int64_t index) const;
  /// Returns notes for the user on how the file was read, one line each (FairFace's classes, mangled age bins, ignored
  /// columns).
  const std::vector<std::string>& notes() const;

  struct BadImage {
    std::int64_t line = 0;
    std::string file = {};
    std::string reason = {};
  };
  /// Returns the images whose files are missing, in the order of the data set. It lists each folder and opens no file.
  /// For a folder that can't be listed, or whose listing omits a file that exists, no image is returned.
  /// @param limit time limit; if the listings take longer, the result is empty.
  std::vector<BadImage> missing_files(std::chrono::milliseconds limit = std::chrono::seconds(2)) const;
  /// Decodes every image once, in parallel, removes those that can't be read and returns them.
  /// @param threads at most 4096; 0: one for each core that the process may use.
  /// @param progress called repeatedly with the number of images done, from one thread at a time.
  /// @throws Error when `threads` is out of range or memory runs out.
  std::vector<BadImage> drop_bad_images(int threads = 0, const std::function<void(std::int64_t)>& progress = {});
  /// Returns the images decoded so far, by load() or drop_bad_images(), whose files have a defect that changes no pixel
  /// (see read_image), by line; `reason` describes the defect. May be called while images are loaded.
  std::vector<BadImage> warnings() const;

 private:
  struct FACET_NO_EXPORT State;
  FACET_NO_EXPORT State& state() const;
  FACET_NO_EXPORT std::size_t checked(std::int64_t index) const;
  std::unique_ptr<State> state_;
};

}  // namespace facet
