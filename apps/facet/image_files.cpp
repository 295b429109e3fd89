#include "image_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "facet/error.h"

namespace facet::app {
namespace fs = std::filesystem;
namespace {

bool is_jpeg_name(const fs::path& file) {
  std::string extension = file.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension == ".jpg" || extension == ".jpeg";
}

/// What a word of the command line, or a folder's entry, is, as far as can be told.
bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

/// Adds the JPEGs in a folder and in the folders within.
void add_jpegs(const fs::path& folder, bool skip, FoundImages& found) {
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const fs::path& path = entry->path();
    std::error_code ignored;
    if (!is_folder(path)) {
      if (is_jpeg_name(path)) found.files.push_back(path);
    } else if (fs::is_symlink(path, ignored)) {
      found.troubles.push_back(fmt::format("{} is a link to a folder, which isn't followed", path.string()));
    } else {
      add_jpegs(path, skip, found);
    }
  }
  if (!error) return;
  const std::string trouble = fmt::format("{} can't be read: {}", folder.string(), error.message());
  if (!skip) throw Error(trouble);
  found.troubles.push_back(trouble);
}

}  // namespace

FoundImages find_images(const std::vector<std::string>& words, bool skip) {
  FoundImages found;
  for (const std::string& word : words) {
    if (!is_folder(word)) {
      found.files.emplace_back(word);
      continue;
    }
    const auto before = std::ssize(found.files);
    const std::size_t troubles = found.troubles.size();
    add_jpegs(word, skip, found);
    if (std::ssize(found.files) == before && (!skip || found.troubles.size() == troubles)) {
      throw Error(fmt::format("no .jpg or .jpeg is in {}", word));
    }
    std::sort(found.files.begin() + before, found.files.end());
  }
  return found;
}

ImageFiles::ImageFiles(std::vector<fs::path> files, std::vector<Head> heads, bool skip)
    : files_(std::move(files)),
      heads_(std::move(heads)),
      no_labels_(heads_.size(), no_label),
      skip_(skip),
      troubles_(files_.size()) {}

std::span<const std::int32_t> ImageFiles::labels(std::int64_t /*index*/) const { return no_labels_; }

std::string ImageFiles::name(std::int64_t index) const { return files_[static_cast<std::size_t>(index)].string(); }

void ImageFiles::load(std::int64_t index, int size, std::span<std::uint8_t> pixels) const {
  const auto place = static_cast<std::size_t>(index);
  try {
    resize(read_jpeg(files_[place], size), size, pixels);
  } catch (const Error& error) {
    if (!skip_) throw;
    std::fill(pixels.begin(), pixels.end(), std::uint8_t{0});
    troubles_[place] = error.what();
  }
}

}  // namespace facet::app
