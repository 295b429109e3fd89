#include "base/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "facet/error.h"

namespace facet::base {
namespace {

[[noreturn]] void fail(const std::filesystem::path& file) {
  const int reason = errno;
  throw Error(fmt::format("cannot write {}: {}", file.string(), std::generic_category().message(reason)));
}

std::filesystem::path folder_of(const std::filesystem::path& file) {
  return file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
}

/// Makes the folder's entries (a rename) survive a power cut, where its file system can sync folders.
void sync_folder(const std::filesystem::path& file) {
  const int folder = ::open(folder_of(file).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) {
    fail(file);
  }
  const bool failed = ::fsync(folder) != 0 && errno != EINVAL && errno != ENOTSUP;
  const int reason = errno;
  ::close(folder);
  if (failed) {
    errno = reason;
    fail(file);
  }
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path file) : file_(std::move(file)) {
  if (std::filesystem::is_directory(file_)) {
    errno = EISDIR;
    fail(file_);
  }
  // Not mkstemp: its file would be readable by the owner alone, whatever the umask.
  for (int attempt = 0; descriptor_ < 0; ++attempt) {
    temporary_ = file_;
    temporary_ += fmt::format(".tmp-{}-{}", ::getpid(), attempt);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST && errno != EINTR) {
      fail(file_);
    }
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      fail(file_);
    }
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0 || ::close(std::exchange(descriptor_, -1)) != 0) {
    fail(file_);
  }
  if (::rename(temporary_.c_str(), file_.c_str()) != 0) {
    fail(file_);
  }
  temporary_.clear();
  sync_folder(file_);
}

}  // namespace facet::base
