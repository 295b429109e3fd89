#include "cli/image_files.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>
#include <system_error>
#include <utility>

#include "facet/error.h"
#include "facet/text.h"

namespace facet::app {
namespace fs = std::filesystem;
namespace {

bool is_image_name(const fs::path& file) {
  std::string extension = file.extension().string();
  for (char& c : extension) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png" || extension == ".webp";
}

/// Finds the image files in a folder and its subfolders. It visits each folder once, however many links lead to it:
/// under the folder's own path where it is in the tree, else under that of the first link.
class FolderWalk {
 public:
  /// @param unreadable receives a line for each folder that can't be read; null: such a folder is an error.
  explicit FolderWalk(std::vector<std::string>* unreadable) : unreadable_(unreadable) {}

  std::vector<fs::path> files(const fs::path& folder) {
    visit(folder);
    // Visit the links to folders after all folders of the tree itself, to which the links may lead.
    for (std::vector<fs::path> links; !links_.empty();) {
      links = std::exchange(links_, {});
      std::sort(links.begin(), links.end());
      for (const fs::path& link : links) visit(link);
    }
    std::sort(files_.begin(), files_.end());
    return std::move(files_);
  }

 private:
  void visit(const fs::path& folder) {
    struct stat status {};
    if (::stat(folder.c_str(), &status) != 0) return refuse(folder, errno);
    if (!seen_.emplace(status.st_dev, status.st_ino).second) return;
    std::error_code error;
    fs::directory_iterator entries(folder, error);
    std::vector<fs::path> folders;
    while (!error && entries != fs::directory_iterator()) {
      const fs::directory_entry& entry = *entries;
      std::error_code unknown;  // on an error the entry is taken for a file, and reading it reports the reason
      if (!entry.is_directory(unknown)) {
        if (is_image_name(entry.path())) files_.push_back(entry.path());
      } else {
        (entry.is_symlink(unknown) ? links_ : folders).push_back(entry.path());
      }
      entries.increment(error);
    }
    if (error) refuse(folder, error.value());
    for (const fs::path& each : folders) visit(each);
  }

  void refuse(const fs::path& folder, int reason) {
    std::string line =
        fmt::format("{} can't be read: {}", printable(folder.string()), std::generic_category().message(reason));
    if (!unreadable_) throw Error(line);
    unreadable_->push_back(std::move(line));
  }

  std::vector<std::string>* unreadable_;
  std::set<std::pair<dev_t, ino_t>> seen_;
  std::vector<fs::path> files_, links_;
};

}  // namespace

std::vector<fs::path> find_images(const std::vector<std::string>& words, std::vector<std::string>* unreadable) {
  std::vector<fs::path> files;
  for (const std::string& word : words) {
    std::error_code unknown;  // on an error the word is taken for a file, and reading it reports the reason
    if (!fs::is_directory(word, unknown)) {
      files.emplace_back(word);
      continue;
    }
    const std::size_t unreadable_before = unreadable ? unreadable->size() : 0;
    const std::vector<fs::path> found = FolderWalk(unreadable).files(word);
    if (found.empty() && (!unreadable || unreadable->size() == unreadable_before)) {
      throw Error(fmt::format("{} has no .jpg, .jpeg, .png or .webp files", printable(word)));
    }
    files.insert(files.end(), found.begin(), found.end());
  }
  if (files.empty() && unreadable && !unreadable->empty()) throw Error(unreadable->front());
  return files;
}

std::vector<fs::path> FileNames::next(std::size_t most, bool waits) {
  std::vector<fs::path> names;
  for (fs::path name; names.size() < most;) {
    if (take(name)) {
      names.push_back(name);
      continue;
    }
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    const bool may_wait = waits && names.empty();
    if (is_at_end_ || (!may_wait && ::poll(&input, 1, 0) == 0)) break;
    is_at_end_ = !read();
  }
  return names;
}

bool FileNames::read() {
  text_.erase(0, std::exchange(begin_, 0));
  std::array<char, 65536> bytes;
  ssize_t count = 0;
  do {
    count = ::read(STDIN_FILENO, bytes.data(), bytes.size());
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    throw Error(fmt::format("can't read standard input: {}", std::generic_category().message(errno)), ErrorCode::io);
  }
  text_.append(bytes.data(), static_cast<std::size_t>(count));
  return count > 0;
}

bool FileNames::take(fs::path& name) {
  while (begin_ < text_.size()) {
    std::size_t end = text_.find(separator_, begin_);
    if (end == std::string::npos && !is_at_end_) return false;
    end = std::min(end, text_.size());
    name = text_.substr(begin_, end - begin_);
    begin_ = end + 1;
    if (!name.empty()) return true;
  }
  return false;
}

ImageFiles::ImageFiles(std::vector<fs::path> files, std::vector<Head> heads, bool skip)
    : files_(std::move(files)),
      heads_(std::move(heads)),
      no_labels_(heads_.size(), no_label),
      skip_(skip),
      troubles_(files_.size()),
      warnings_(files_.size()) {}

std::span<const std::int32_t> ImageFiles::labels(std::int64_t /*index*/) const { return no_labels_; }

std::string ImageFiles::name(std::int64_t index) const { return files_[static_cast<std::size_t>(index)].string(); }

void ImageFiles::load(const LoadRequest& request, std::span<std::uint8_t> pixels) const {
  const auto place = static_cast<std::size_t>(request.index);
  try {
    const Image image = read_image(files_[place], covered_size(request.size, request.resize), &warnings_[place]);
    resize(image, request.size, request.resize, pixels);
  } catch (const Error& error) {
    if (!skip_) throw;
    std::fill(pixels.begin(), pixels.end(), std::uint8_t{0});
    troubles_[place] = error.what();
  }
}

}  // namespace facet::app
