#include "formats/readable_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "facet/error.h"

namespace facet::formats {
namespace {

std::string system_reason(int code) { return std::generic_category().message(code); }

}  // namespace

ReadableFile::ReadableFile(const std::filesystem::path& file) : name_(file.string()) {
  // Without O_NONBLOCK, opening a FIFO would wait for a writer.
  descriptor_ = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) throw Error(fmt::format("{}: can't be opened: {}", name_, system_reason(errno)), ErrorCode::io);
  struct stat status {};
  const int failure = ::fstat(descriptor_, &status) == 0 ? 0 : errno;
  if (failure != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw Error(fmt::format("{}: {}", name_, failure != 0 ? system_reason(failure) : "is not a regular file"),
                ErrorCode::io);
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

ReadableFile::~ReadableFile() { ::close(descriptor_); }

void ReadableFile::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = ::pread(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw Error(fmt::format("{}: can't be read: {}", name_, system_reason(errno)), ErrorCode::io);
    if (count == 0)
      throw Error(fmt::format("{}: the file ended at byte {} while it was read", name_, offset),
                  ErrorCode::invalid_data);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

}  // namespace facet::formats
