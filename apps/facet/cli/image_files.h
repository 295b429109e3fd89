#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "facet/dataset.h"

namespace facet::app {

/// The image files that words of a command line name. A folder stands for the .jpg, .jpeg, .png and .webp files (in
/// upper or lower case) in it and its subfolders, sorted by path; any other word stands for itself, whether or not the
/// file exists. Links to folders are followed; a folder that is reached twice counts once.
/// @param unreadable receives a line for each folder that can't be read; null: such a folder is an error.
/// @throws Error naming a folder that holds no image or can't be read.
std::vector<std::filesystem::path> find_images(const std::vector<std::string>& words,
                                               std::vector<std::string>* unreadable);

/// The names of image files that arrive on standard input, one after the other.
class FileNames {
 public:
  /// @param separator the character that ends a name.
  explicit FileNames(char separator) : separator_(separator) {}

  /// Returns the names that have arrived, up to `most`; none at the end of the input. Empty names are left out.
  /// @param waits for a name where none has arrived. @throws Error when standard input can't be read.
  std::vector<std::filesystem::path> next(std::size_t most, bool waits);

 private:
  /// Reads what has arrived, for which it waits; false at the end of the input.
  bool read();
  /// Takes the next whole name, at the end of the input also the last one without a separator.
  bool take(std::filesystem::path& name);

  char separator_;
  std::string text_;       ///< what has arrived and isn't taken yet
  std::size_t begin_ = 0;  ///< of it
  bool is_at_end_ = false;
};

/// A data set of image files without labels.
class ImageFiles final : public Dataset {
 public:
  /// @param skip make images that can't be read black and remember the reason, instead of throwing.
  ImageFiles(std::vector<std::filesystem::path> files, std::vector<Head> heads, bool skip);

  std::int64_t size() const override { return static_cast<std::int64_t>(files_.size()); }
  const std::vector<Head>& heads() const override { return heads_; }
  std::span<const std::int32_t> labels(std::int64_t index) const override;
  void load(const LoadRequest& request, std::span<std::uint8_t> pixels) const override;
  std::string name(std::int64_t index) const override;

  /// The reason why an image couldn't be read by load(); empty when it could.
  const std::string& trouble(std::int64_t index) const { return troubles_[static_cast<std::size_t>(index)]; }
  /// What is wrong with an image's file although load() could read its pixels; empty: nothing.
  const std::string& warning(std::int64_t index) const { return warnings_[static_cast<std::size_t>(index)]; }

 private:
  std::vector<std::filesystem::path> files_;
  std::vector<Head> heads_;
  std::vector<std::int32_t> no_labels_;
  bool skip_;
  mutable std::vector<std::string> troubles_, warnings_;  // each written by the one thread that loads its image
};

}  // namespace facet::app
