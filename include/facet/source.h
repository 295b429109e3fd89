#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "facet/dataset.h"
#include "facet/export.h"

namespace facet {

/// An encoded image: the bytes of a JPEG, PNG or WebP file.
struct EncodedImage {
  std::span<const std::uint8_t> bytes = {};  ///< must not change as long as `owner` is held
  /// Keeps the bytes alive, for instance a vector or a mapped file; null: they live as long as the source.
  std::shared_ptr<const void> owner = {};
};

/// Returns an encoded image that owns its bytes.
FACET_EXPORT EncodedImage encoded_image(std::vector<std::uint8_t> bytes);

/// Where labelled, encoded images come from: a CSV and its files, a folder, an archive. A source doesn't change. Const
/// members are thread-safe, and are called with indices in [0, size()) only.
class FACET_EXPORT ImageSource {
 public:
  virtual ~ImageSource() = default;
  virtual std::int64_t size() const = 0;
  virtual const std::vector<Head>& heads() const = 0;
  /// Returns the labels of image `index`, one for each head: an index into its classes, or no_label.
  virtual std::span<const std::int32_t> labels(std::int64_t index) const = 0;
  /// As Dataset::has_targets and Dataset::targets: values in place of class indices as a head's targets. By default no
  /// head has any.
  virtual bool has_targets(std::size_t /*head*/) const { return false; }
  virtual void targets(std::int64_t /*index*/, std::size_t /*head*/, std::span<float> /*values*/) const {}
  /// Reads image `index`. A source whose images lie in memory hands them out without a copy.
  /// @throws Error with the reason alone, such as "no such file"; a SourceDataset adds place(index).
  virtual EncodedImage read(std::int64_t index) const = 0;

  /// Returns what messages call the source, in printable form: "train.csv".
  virtual std::string title() const = 0;
  /// Returns the name of image `index`, which stands in predictions: for a CSV, the file as written there.
  virtual std::string name(std::int64_t index) const = 0;
  /// Returns what messages on image `index` begin with, in printable form: "train.csv:12: faces/1.jpg". By default it
  /// consists of the title, the line if there is one, and the name.
  virtual std::string place(std::int64_t index) const;
  /// Returns the line that describes image `index`, counted from 1; by default 0, for a source without lines.
  virtual std::int64_t line(std::int64_t index) const;
  /// Returns the file that consists of image `index`; by default an empty path, for images that are no files.
  virtual std::filesystem::path path(std::int64_t index) const;
  /// Returns the weight of image `index` for a WeightedRandomSampler; by default 1.
  virtual double weight(std::int64_t index) const;
  /// Returns notes for the user on how the source was read, one line each; by default none.
  virtual std::vector<std::string> notes() const;
  /// Returns the indices of images whose files are missing, ascending, without reading any; by default none.
  /// @param limit time limit; if the search takes longer, the result is empty.
  virtual std::vector<std::int64_t> missing(std::chrono::milliseconds limit) const;
};

/// An image of a source that can't be read, or that has a defect.
struct BadImage {
  std::int64_t line = 0;    ///< ImageSource::line
  std::string name = {};    ///< ImageSource::name
  std::string reason = {};  ///< what is wrong
};

/// A data set of the images of a source, which it reads, decodes and resizes. Images that can't be read may be dropped.
/// Until it is destroyed it keeps up to 16 MiB of memory, to use it again, for each thread that loads images.
///
/// All members throw Error when there is no image `index`, or when the data set was moved from.
class FACET_EXPORT SourceDataset : public Dataset {
 public:
  /// @throws Error when `source` is null, or its heads, or the classes of a head, lack distinct names in UTF-8.
  explicit SourceDataset(std::shared_ptr<const ImageSource> source);
  ~SourceDataset() override;
  SourceDataset(SourceDataset&&) noexcept;

  std::int64_t size() const override;
  const std::vector<Head>& heads() const override;
  std::span<const std::int32_t> labels(std::int64_t index) const override;
  bool has_targets(std::size_t head) const override;
  void targets(std::int64_t index, std::size_t head, std::span<float> values) const override;
  void load(const LoadRequest& request, std::span<std::uint8_t> pixels) const override;
  std::string name(std::int64_t index) const override;

  /// Returns the image's file; an empty path if the source has none.
  std::filesystem::path path(std::int64_t index) const;
  /// Returns the image's line in the source, counted from 1; 0 if the source has none.
  std::int64_t line(std::int64_t index) const;
  /// Returns the image's weight for a WeightedRandomSampler; 1 if the source has none.
  double weight(std::int64_t index) const;
  /// Returns notes for the user on how the source was read, one line each.
  std::vector<std::string> notes() const;

  /// Returns the images whose files are missing, in the order of the data set, as far as the source can tell without
  /// reading them (see ImageSource::missing).
  /// @param limit time limit; if the search takes longer, the result is empty.
  std::vector<BadImage> missing_images(std::chrono::milliseconds limit = std::chrono::seconds(2)) const;
  /// Decodes every image once, in parallel, removes those that can't be read and returns them.
  /// @param threads as of find_bad_images.
  /// @param progress as of find_bad_images.
  /// @throws Error as find_bad_images does; no image is removed then.
  std::vector<BadImage> drop_bad_images(int threads = 0, const std::function<void(std::int64_t)>& progress = {});
  /// Decodes the `count` images from index `first` on once, in parallel, and returns why images can't be read, by their
  /// indices. With drop() it is drop_bad_images() for processes that each check a share of the images.
  /// @param threads at most 4096; 0: one for each core that the process may use.
  /// @param progress called repeatedly with the number of images done, from one thread at a time.
  /// @throws Error when the images or `threads` are out of range, or memory runs out, also for a single image, which is
  ///   then named.
  std::map<std::int64_t, std::string> find_bad_images(std::int64_t first, std::int64_t count, int threads = 0,
                                                      const std::function<void(std::int64_t)>& progress = {}) const;
  /// Removes images and returns them, in their order. The images after a removed one have lower indices then.
  /// @param reasons what is wrong with each, by its index.
  std::vector<BadImage> drop(const std::map<std::int64_t, std::string>& reasons);
  /// Returns the images decoded so far, by load(), drop_bad_images() or find_bad_images(), whose files have a defect
  /// that changes no pixel (see read_image), in the order of the source; `reason` describes the defect. May be called
  /// while images are loaded.
  std::vector<BadImage> warnings() const;

 private:
  struct FACET_NO_EXPORT State;
  FACET_NO_EXPORT State& state() const;
  std::unique_ptr<State> state_;
};

}  // namespace facet
