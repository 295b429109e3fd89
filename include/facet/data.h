#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "facet/export.h"

namespace facet {

/// A question asked of each image, and the answers in the order of the logits.
struct Head {
  std::string name = {};
  std::vector<std::string> classes = {};
  bool operator==(const Head&) const = default;
};

/// The label of an image that carries none for a head.
inline constexpr std::int32_t no_label = -1;

/// Pixels: 8-bit RGB, row by row, {height, width, 3}.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> pixels = {};
};

/// How an image of any shape is resized to size x size. The filter is that of PIL's Image.resize with BILINEAR
/// (antialiased), to the same pixels.
enum class ResizeMode : std::uint8_t {
  squash,  ///< the whole image; its aspect ratio is lost
  /// The aspect ratio is kept: the shorter side is resized to floor(size / 0.875), the longer one in proportion (rounded
  /// down), and the centre of size x size is taken. For a size of 224 that is torchvision's Resize(256) and
  /// CenterCrop(224).
  crop
};
/// "squash" or "crop". @throws Error when it is neither.
FACET_EXPORT std::string_view to_string(ResizeMode mode);
/// @throws Error naming the value and those allowed.
FACET_EXPORT ResizeMode parse_resize_mode(std::string_view text);

/// Labelled images. Const members may be called from many threads at once. While a Loader, a Trainer or evaluate() uses
/// it, a data set must neither change nor go.
class FACET_EXPORT Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::int64_t size() const = 0;
  virtual const std::vector<Head>& heads() const = 0;
  /// Labels of image `index`, one a head: an index into its classes, or no_label.
  virtual std::span<const std::int32_t> labels(std::int64_t index) const = 0;
  /// Writes image `index` as 8-bit RGB of {size, size, 3}, resized as facet::resize does.
  /// @throws Error naming the image (and its line in the manifest) when it can't be read.
  virtual void load(std::int64_t index, int size, ResizeMode mode, std::span<std::uint8_t> pixels) const = 0;
  /// What to call image `index` in messages and predictions: for a manifest, the file as the CSV has it.
  virtual std::string name(std::int64_t index) const = 0;
};

/// Images held in memory.
class FACET_EXPORT MemoryDataset final : public Dataset {
 public:
  /// @throws Error unless each head, and each class of a head, has a name of its own in UTF-8, and each head a class.
  explicit MemoryDataset(std::vector<Head> heads);
  /// @throws Error when the image's pixel count or a label is out of range.
  void add(Image image, std::vector<std::int32_t> labels);

  std::int64_t size() const override;
  const std::vector<Head>& heads() const override;
  /// These three: @throws Error when there is no image `index`.
  std::span<const std::int32_t> labels(std::int64_t index) const override;
  void load(std::int64_t index, int size, ResizeMode mode, std::span<std::uint8_t> pixels) const override;
  std::string name(std::int64_t index) const override;

 private:
  std::vector<Head> heads_;
  std::vector<Image> images_;
  std::vector<std::int32_t> labels_;
};

struct ManifestOptions {
  std::filesystem::path root = {};      ///< folder that the files are relative to; empty: the CSV's own
  std::vector<std::string> heads = {};  ///< columns to learn; empty: all but the files', `service_test` and identifiers
  /// Declared classes by head, in the order of the logits; {"fairface"}: FairFace's set that the labels belong to.
  std::map<std::string, std::vector<std::string>> classes = {};
  std::vector<Head> expected = {};  ///< the heads of a model: columns and classes must fit them, in their order
  std::string file_column = {};     ///< names the files; empty: `file`, or another usual name
  /// The column with the labels of the only head, which has its name unless `expected` names it; empty: each head has
  /// the name of its column.
  std::string label_column = {};
  /// Heads of `expected` may lack a column, all but one of them: no image has a label for them, which a note says.
  bool allow_missing = false;
};

/// A CSV with a column of image files and one column a head (FairFace's own files work as they are).
///
/// The files are those of the column `file`, else of the first of image, path, filename, file_name, filepath,
/// image_path and img that there is, in any case, unless the options name another. Where the first file with a
/// backslash in it isn't there by the name as it stands, backslashes separate folders, as on Windows. Fields are
/// separated by commas; by semicolons or tabs where the header has no comma.
///
/// Classes of a head: those of `expected`; else the declared ones; else, of a column called age, gender or race (in any
/// case) all of whose values belong to FairFace's set of that name, all of that set in its canonical order; else the
/// column's values, sorted: by number where all are whole numbers (also as "3.0"), so that of 0, 1, ..., n - 1 each is
/// its own index, otherwise as text. "007" and "7" are two classes. FairFace's aliases (70+ for "more than 70"; 9-Mar
/// and 19-Oct, as a spreadsheet mangles 3-9 and 10-19) count as the class they stand for. Empty fields are no label.
/// "3" and "3.0" are one label where one of them alone is a class. Labels are taken without spaces around them.
///
/// Columns without a name (a data frame's index) are passed over. So are, unless they are asked for or their classes
/// declared, further columns that are called as those of files are, and identifiers: columns of more than 50 different
/// values that have on average fewer than two rows each.
///
/// All members throw Error when there is no image `index`, or when the data set was moved from.
class FACET_EXPORT ManifestDataset final : public Dataset {
 public:
  /// @throws Error naming the file, its line, the value found and those allowed.
  explicit ManifestDataset(const std::filesystem::path& csv, const ManifestOptions& options = {});
  ~ManifestDataset() override;
  ManifestDataset(ManifestDataset&&) noexcept;

  std::int64_t size() const override;
  const std::vector<Head>& heads() const override;
  std::span<const std::int32_t> labels(std::int64_t index) const override;
  void load(std::int64_t index, int size, ResizeMode mode, std::span<std::uint8_t> pixels) const override;
  std::string name(std::int64_t index) const override;

  /// The image's file, with the root in front.
  std::filesystem::path path(std::int64_t index) const;
  /// The image's line in the CSV, from 1.
  std::int64_t line(std::int64_t index) const;
  /// What a user should know of how the file was read, a line each (FairFace's classes, mangled age bins, columns that
  /// were passed over).
  const std::vector<std::string>& notes() const;

  struct BadImage {
    std::int64_t line = 0;
    std::string file = {};
    std::string reason = {};
  };
  /// The images whose files are missing, in their order, by a listing of each folder: no file is opened. A folder that
  /// can't be listed, or whose listing doesn't name a file that is there, tells of none.
  /// @param limit of time; where the listings take longer, none is named.
  std::vector<BadImage> missing_files(std::chrono::milliseconds limit = std::chrono::seconds(2)) const;
  /// Decodes every image once, in parallel, and leaves out those that can't be read.
  /// @param threads 0: all that the process may use; at most 4096.
  /// @param progress called now and then with the number of images done, from one thread at a time.
  /// @throws Error when `threads` is out of range or memory runs out.
  std::vector<BadImage> drop_bad_images(int threads = 0, const std::function<void(std::int64_t)>& progress = {});
  /// The images that were decoded so far, by load() or drop_bad_images(), although something is wrong with their files
  /// that harms no pixel (see read_image), by line; the reason says what. May be called while images are loaded.
  std::vector<BadImage> warnings() const;

 private:
  struct FACET_NO_EXPORT State;
  FACET_NO_EXPORT State& state() const;
  FACET_NO_EXPORT std::size_t checked(std::int64_t index) const;
  std::unique_ptr<State> state_;
};

/// Reads an image file as RGB, upright: EXIF's orientation is honoured. The content tells the format, not the name.
/// Pixels are those of Pillow's convert("RGB"), which drops alpha and colour profiles.
/// - JPEG: baseline, extended and progressive; grey, RGB, CMYK or YCCK. CMYK counts as inverted, as Adobe's programs
///   write it and Pillow reads it.
/// - PNG: of all kinds. Of 16 bits the high byte counts, of grey ones too (Pillow's conversion of those clips at 255);
///   of an animation the default image. EXIF is that of the chunk eXIf, not of ImageMagick's text chunks.
/// - WebP: lossy and lossless; of an animation the first frame.
/// @param size the length that the shorter side needs (see resized_side): a JPEG that is much larger is decoded at 1/2,
///   1/4 or 1/8 (scaled DCT), with no side below `size`; 0: in full.
/// @param warning if not null, takes what is wrong with the file but harms no pixel, or an empty string. Of a JPEG:
///   extraneous bytes before a marker, a missing end marker where all data of the image are there, an unknown Adobe
///   transform or JFIF version, odd spectral parameters of a sequential scan. Of a PNG: whatever libpng warns of,
///   and damage after the pixels, a missing end too.
/// @throws Error naming the file when it is missing, no regular file, empty or of another format (which it names), when
///   its data are truncated or corrupt, when it is a JPEG that is lossless, hierarchical or of other than 8 bits a
///   sample, over 1 GiB long, or so large that decoding it would take over 2 GiB of memory, or more than there is.
FACET_EXPORT Image read_image(const std::filesystem::path& file, int size = 0, std::string* warning = nullptr);

/// The length to which the shorter side of an image is resized: `size`, or floor(size / 0.875) before a crop.
/// @throws Error when the size is below 1, or so large that the side doesn't fit into an int.
FACET_EXPORT int resized_side(int size, ResizeMode mode);

/// Resizes to {height, width, 3} = {size, size, 3}. Only the pixels that are kept are computed, so that a crop of an
/// image of any aspect ratio takes little memory.
/// @throws Error when the image's or `pixels`' bytes aren't those of its size, or a size is out of range.
FACET_EXPORT void resize(const Image& image, int size, ResizeMode mode, std::span<std::uint8_t> pixels);

/// Images and labels of one step. Buffers are reused from batch to batch.
struct Batch {
  std::int64_t size = 0;                   ///< images
  std::vector<std::uint8_t> pixels = {};   ///< {size, height, width, 3}
  std::vector<std::int32_t> labels = {};   ///< {heads, size}; no_label where an image carries none
  std::vector<std::int64_t> indices = {};  ///< of the images in the data set
};

struct LoaderOptions {
  std::int64_t batch = 64;
  int size = 224;                          ///< height and width of the images
  ResizeMode resize = ResizeMode::squash;  ///< how they are resized to it
  /// Decoding threads, at most 4096; 0: as many as keep the caller from waiting, one at first, at most one for each core
  /// that the process may use.
  int threads = 0;
  std::uint64_t seed = 0;
  bool shuffle = true;     ///< the order is a function of (seed, epoch) alone
  bool flip = true;        ///< mirror each image with probability 1/2, a function of (seed, epoch, image)
  bool drop_last = false;  ///< leave out the last, smaller batch of an epoch
  int prefetch = 4;        ///< batches decoded ahead
};

/// Decodes batches ahead of the step that uses them, on threads of its own within a oneTBB arena, with bounded memory.
/// One thread calls the members. The data set must outlive the loader, and its images and heads stay the same.
class FACET_EXPORT Loader {
 public:
  /// @throws Error naming the first option whose value can't be meant, the memory that the batches take when it is more
  ///   than is available, or the thread that can't be started (of those that are added later, none is needed).
  Loader(const Dataset& dataset, const LoaderOptions& options);
  Loader(const Dataset&& dataset, const LoaderOptions& options) = delete;  ///< a temporary would be gone too soon
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  std::int64_t batches_per_epoch() const;
  /// Threads that decode now.
  int threads() const;
  /// Bytes of memory that its batches take.
  std::int64_t held_bytes() const;
  /// Starts an epoch at batch `first`, giving up what was decoded ahead. Starting at its end is allowed: it is then over.
  /// @throws Error when the epoch has no such batch, or the data set's size or heads have changed since the loader was
  ///   made.
  void start_epoch(std::int64_t epoch, std::int64_t first = 0);
  /// The next batch of the epoch, valid until the next call; null at its end.
  /// @throws Error of the first image, in the order of the epoch, that can't be read or whose labels aren't those of the
  ///   heads, at its batch; again on each further call, until an epoch is started. Error when none was started, or the
  ///   data set's size or heads have changed.
  const Batch* next();

 private:
  struct FACET_NO_EXPORT State;
  std::unique_ptr<State> state_;
};

/// The order of an epoch: a permutation of [0, count) that is a function of (seed, epoch) alone.
/// @throws Error when count is negative, or more than 32 bits can number.
FACET_EXPORT std::vector<std::int64_t> epoch_order(std::int64_t count, std::uint64_t seed, std::int64_t epoch);

struct SyntheticOptions {
  std::int64_t train = 2000;      ///< images, at least 0
  std::int64_t validation = 500;  ///< images, at least 0
  int size = 64;                  ///< height and width, 32 to 2048
  std::uint64_t seed = 0;
};

/// Draws a labelled sample: folder/train.csv, folder/validation.csv and their JPEGs (train/figure-000001.jpg, ...),
/// with FairFace's columns and classes (9, 2 and 7), each equally often. Abstract figures only: race is the shape of a
/// figure, gender the direction of its stripes, age their hue and the number of discs around. The same options give the
/// same files; an image depends on the size, the seed, its set and its number alone.
///
/// The folder is made where it is missing. A sample that it already holds, whole or half made, is replaced; a folder
/// that holds anything else is refused and left as it is. The CSVs come last: where both are there, the sample is
/// whole.
/// @param progress called now and then with the number of images written, from one thread at a time.
/// @throws Error when an option is out of range, the folder holds anything else, or a file can't be written.
FACET_EXPORT void write_synthetic_sample(const std::filesystem::path& folder, const SyntheticOptions& options,
                                         const std::function<void(std::int64_t)>& progress = {});

}  // namespace facet
