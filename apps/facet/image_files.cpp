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

std::vector<fs::path> jpegs_in(const fs::path& folder) {
  std::vector<fs::path> files;
  try {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
      if (!entry.is_directory() && is_jpeg_name(entry.path())) files.push_back(entry.path());
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(fmt::format("{} can't be read: {}", error.path1().string(), error.code().message()));
  }
  if (files.empty()) throw Error(fmt::format("no .jpg or .jpeg is in {}", folder.string()));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::vector<fs::path> find_images(const std::vector<std::string>& words) {
  std::vector<fs::path> files;
  for (const std::string& word : words) {
    if (!fs::is_directory(word)) {
      files.emplace_back(word);
      continue;
    }
    const std::vector<fs::path> found = jpegs_in(word);
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
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
