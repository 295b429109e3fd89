#include "base/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string>
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

bool is_below(const std::filesystem::path& file, const std::filesystem::path& folder) {
  const auto [left, ignored] = std::mismatch(folder.begin(), folder.end(), file.begin(), file.end());
  return left == folder.end();
}

/// Whether the system made it, so that no file may take its place: as root, that would go well.
bool belongs_to_system(const std::filesystem::path& file) {
  return is_below(file, "/proc") || (is_below(file, "/dev") && !is_below(file, "/dev/shm"));
}

/// Opens what is written to as it is. Our own standard output is shared, not opened anew, since another descriptor of a
/// file would begin at its start.
int open_as_it_is(const std::filesystem::path& file) {
  if (file.parent_path() == fmt::format("/proc/{}/fd", ::getpid())) {
    const std::string name = file.filename().string();
    int number = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc() && end == name.data() + name.size()) {
      return ::fcntl(number, F_DUPFD_CLOEXEC, 0);
    }
  }
  return ::open(file.c_str(), O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC);
}

}  // namespace

std::filesystem::path where_links_lead(std::filesystem::path file) {
  constexpr int most_links = 40;  // Linux's own limit
  for (int links = 0; links < most_links; ++links) {
    std::error_code error;
    const auto folder = std::filesystem::weakly_canonical(std::filesystem::absolute(folder_of(file), error), error);
    if (error) {
      return file;
    }
    file = folder / file.filename();
    if (belongs_to_system(file) || !std::filesystem::is_symlink(file, error)) {
      return file;
    }
    const auto next = std::filesystem::read_symlink(file, error);
    if (error) {
      return file;
    }
    file = folder / next;
  }
  return file;
}

AtomicFile::AtomicFile(std::filesystem::path file) : file_(std::move(file)), target_(where_links_lead(file_)) {
  std::error_code ignored;
  const auto status = std::filesystem::status(target_, ignored);
  if (std::filesystem::is_directory(status)) {
    errno = EISDIR;
    fail(file_);
  }
  if (std::filesystem::is_symlink(target_, ignored) && !belongs_to_system(target_)) {
    errno = ELOOP;
    fail(file_);
  }
  const bool special = std::filesystem::exists(status) && !std::filesystem::is_regular_file(status);
  at_once_ = special || belongs_to_system(target_);
  if (!at_once_) {
    make_temporary();
  } else if ((descriptor_ = open_as_it_is(target_)) < 0) {
    fail(file_);
  }
}

void AtomicFile::make_temporary() {
  // Not mkstemp: its file would be readable by the owner alone, whatever the umask.
  for (int attempt = 0; descriptor_ < 0; ++attempt) {
    temporary_ = target_;
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

void AtomicFile::overwrite(std::uint64_t offset, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::pwrite(descriptor_, text.data(), text.size(), static_cast<off_t>(offset));
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
      offset += static_cast<std::uint64_t>(written);
    } else if (errno != EINTR) {
      fail(file_);
    }
  }
}

void AtomicFile::close() {
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    fail(file_);
  }
}

void AtomicFile::commit() {
  if (at_once_) {
    close();
    return;
  }
  if (::fsync(descriptor_) != 0) {
    fail(file_);
  }
  close();
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    fail(file_);
  }
  temporary_.clear();
  sync_folder(target_);
}

}  // namespace facet::base
