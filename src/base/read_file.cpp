#include "base/read_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>
#include <thread>

#include "facet/error.h"
#include "facet/files.h"
#include "facet/text.h"

namespace facet::base {
namespace {

/// An error that may be temporary, typically one of a network file system.
class TransientError : public Error {
 public:
  explicit TransientError(const std::string& message) : Error(message, ErrorCode::io) {}
};

[[noreturn]] void fail(int error) {
  if (error == EIO || error == ESTALE) {
    throw TransientError("can't be read: " + std::generic_category().message(error));
  }
  if (error == ENOENT || error == ENOTDIR) throw Error("no such file", ErrorCode::io);
  throw Error("can't be read: " + std::generic_category().message(error), ErrorCode::io);
}

class RegularFile {
 public:
  // Without O_NONBLOCK, opening a FIFO would wait for a writer.
  explicit RegularFile(const std::filesystem::path& file)
      : descriptor_(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (descriptor_ < 0) fail(errno);
  }
  ~RegularFile() { ::close(descriptor_); }
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;

  /// Returns the size in bytes. @throws Error when the file isn't a regular file.
  std::uint64_t size() const {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail(errno);
    if (S_ISDIR(status.st_mode)) throw Error("is a folder, not a file", ErrorCode::io);
    if (!S_ISREG(status.st_mode)) throw Error("is not a regular file", ErrorCode::io);
    return static_cast<std::uint64_t>(status.st_size);
  }

  /// Appends up to `count` bytes from the current position; fewer at the end of the file.
  void append(std::size_t count, std::vector<std::uint8_t>& bytes) const {
    std::size_t filled = bytes.size();
    bytes.resize(filled + count);
    while (filled < bytes.size()) {
      const ssize_t bytes_read = ::read(descriptor_, bytes.data() + filled, bytes.size() - filled);
      if (bytes_read < 0 && errno == EINTR) continue;
      if (bytes_read < 0) fail(errno);
      if (bytes_read == 0) break;
      filled += static_cast<std::size_t>(bytes_read);
    }
    bytes.resize(filled);
  }

 private:
  int descriptor_;
};

using IsWanted = std::function<bool(std::span<const std::uint8_t>)>;

std::vector<std::uint8_t> read_once(const std::filesystem::path& file, std::uint64_t max_bytes, std::size_t start_bytes,
                                    const IsWanted& wanted) {
  const RegularFile opened(file);
  const std::uint64_t size = opened.size();
  if (size > max_bytes)
    throw Error(fmt::format("is {} bytes long; at most {} are allowed", size, max_bytes), ErrorCode::invalid_data);
  std::vector<std::uint8_t> bytes;
  opened.append(std::min<std::size_t>(size, start_bytes), bytes);
  if (!wanted(bytes)) return bytes;
  opened.append(size - bytes.size(), bytes);
  return bytes;
}

}  // namespace

std::vector<std::uint8_t> read_file(const std::filesystem::path& file, std::uint64_t max_bytes) {
  return read_file(file, max_bytes, 0, [](std::span<const std::uint8_t>) { return true; });
}

std::vector<std::uint8_t> read_file(const std::filesystem::path& file, std::uint64_t max_bytes, std::size_t start_bytes,
                                    const IsWanted& wanted) {
  // Each attempt opens the file again, since a stale NFS handle stays stale.
  constexpr std::array pauses{std::chrono::milliseconds(50), std::chrono::milliseconds(200),
                              std::chrono::milliseconds(800)};
  for (const auto pause : pauses) {
    try {
      return read_once(file, max_bytes, start_bytes, wanted);
    } catch (const TransientError&) {
      std::this_thread::sleep_for(pause);
    }
  }
  return read_once(file, max_bytes, start_bytes, wanted);
}

}  // namespace facet::base

namespace facet {

std::string read_text(const std::filesystem::path& file) {
  constexpr std::uint64_t max_bytes = std::uint64_t{1} << 30;
  try {
    const std::vector<std::uint8_t> bytes = base::read_file(file, max_bytes);
    return {bytes.begin(), bytes.end()};
  } catch (const Error& error) {
    throw error.with_prefix(printable(file.string()) + ": ");
  }
}

}  // namespace facet
