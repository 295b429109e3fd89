#include "base/folder_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <string>
#include <system_error>
#include <utility>

#include "facet/error.h"

namespace facet::base {
namespace {

/// What the owner wrote into the lock file: "process 4711 on node3". It may not have come to that yet.
std::string owner_of(int descriptor) {
  std::array<char, 512> text{};
  const ssize_t length = ::pread(descriptor, text.data(), text.size(), 0);
  const std::string line(text.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  const std::string owner = line.substr(0, line.find('\n'));
  return owner.starts_with("process ") ? owner : "another process";
}

std::string this_process() {
  std::array<char, HOST_NAME_MAX + 1> host{};
  const bool named = ::gethostname(host.data(), host.size() - 1) == 0;
  return fmt::format("process {} on {}", ::getpid(), named ? host.data() : "an unknown host");
}

}  // namespace

FolderLock::FolderLock(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / lock_file_name;
  const auto fail = [&](int reason) {
    throw Error(fmt::format("cannot lock {}: {}", file.string(), std::generic_category().message(reason)));
  };
  // Not blocking: a FIFO of that name would be waited for.
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
  if (descriptor_ < 0) fail(errno);
  int result = 0;
  do {
    result = ::flock(descriptor_, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  const int reason = result == 0 ? 0 : errno;
  const std::string owner = reason == EWOULDBLOCK ? owner_of(descriptor_) : "";
  held_ = reason == 0;
  if (held_) {
    // A full disk may refuse the owner's name; the lock holds all the same.
    const std::string text = this_process() + "\n";
    [[maybe_unused]] const bool named =
        ::ftruncate(descriptor_, 0) == 0 && ::pwrite(descriptor_, text.data(), text.size(), 0) > 0;
    return;
  }
  if (reason == ENOLCK || reason == ENOTSUP || reason == EOPNOTSUPP || reason == ENOSYS) return;
  ::close(std::exchange(descriptor_, -1));
  if (reason != EWOULDBLOCK) fail(reason);
  throw Error(fmt::format("{} is in use by {}: wait for its end, or take another folder", folder.string(), owner));
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

FolderLock::FolderLock(FolderLock&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), held_(std::exchange(other.held_, false)) {}

}  // namespace facet::base
