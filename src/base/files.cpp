#include "base/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <nmmintrin.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "facet/error.h"
#include "facet/text.h"

namespace facet {

namespace {

[[noreturn]] void fail(const std::filesystem::path& file) {
  const int reason = errno;
  throw Error(fmt::format("cannot write {}: {}", printable(file.string()), std::generic_category().message(reason)),
              ErrorCode::io);
}

void require(const std::error_code& error, const std::filesystem::path& path) {
  if (error)
    throw Error(fmt::format("{}: can't be accessed: {}", printable(path.string()), error.message()), ErrorCode::io);
}

std::filesystem::path folder_of(const std::filesystem::path& file) {
  return file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
}

/// Syncs the folder that holds `file`, so that a rename survives a power cut. Does nothing if the file system can't
/// sync folders.
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

/// Whether the system provides the file, so that no other file may replace it: for root, replacing it would succeed.
bool belongs_to_system(const std::filesystem::path& file) {
  return is_below(file, "/proc") || (is_below(file, "/dev") && !is_below(file, "/dev/shm"));
}

/// Opens a target that is written to directly. The process's own standard output is duplicated instead of opened again,
/// since a second descriptor of the same file would start at the file's beginning.
int open_directly(const std::filesystem::path& file) {
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

std::filesystem::path resolve_links(std::filesystem::path file) {
  constexpr int max_links = 40;  // the limit of Linux
  for (int links = 0; links < max_links; ++links) {
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

AtomicFile::AtomicFile(std::filesystem::path file) : file_(std::move(file)), target_(resolve_links(file_)) {
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
  writes_directly_ = special || belongs_to_system(target_);
  if (!writes_directly_) {
    make_temporary();
  } else if ((descriptor_ = open_directly(target_)) < 0) {
    fail(file_);
  }
}

void AtomicFile::make_temporary() {
  // mkstemp isn't used: it makes a file that only its owner can read, regardless of the umask.
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
  if (writes_directly_) {
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

namespace {

/// The owner's name as written in the lock file: "process 4711 on node3". The owner may not have written it yet.
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
  const std::filesystem::path file = folder / "run.lock";
  const auto fail = [&](int reason) {
    throw Error(fmt::format("cannot lock {}: {}", printable(file.string()), std::generic_category().message(reason)),
                ErrorCode::io);
  };
  // O_NONBLOCK, since opening a FIFO of that name would block.
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
    // Writing the owner's name may fail on a full disk; the lock is held nevertheless.
    const std::string text = this_process() + "\n";
    [[maybe_unused]] const bool named =
        ::ftruncate(descriptor_, 0) == 0 && ::pwrite(descriptor_, text.data(), text.size(), 0) > 0;
    return;
  }
  if (reason == ENOLCK || reason == ENOTSUP || reason == EOPNOTSUPP || reason == ENOSYS) return;
  ::close(std::exchange(descriptor_, -1));
  if (reason != EWOULDBLOCK) fail(reason);
  throw Error(fmt::format("{} is in use by {}: wait until it ends, or use another folder", printable(folder.string()),
                          printable(owner)),
              ErrorCode::in_use);
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

FolderLock::FolderLock(FolderLock&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), held_(std::exchange(other.held_, false)) {}

std::filesystem::file_status status_of(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::status_known(status)) require(error, path);
  return status;
}

namespace base {

namespace {

constexpr std::uint32_t polynomial = 0x82F63B78;  // in reflected bit order

/// CRC remainders of the 256 values of a byte.
constexpr std::array<std::uint32_t, 256> remainders = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = (remainder >> 1) ^ ((remainder & 1) != 0 ? polynomial : 0);
    table[byte] = remainder;
  }
  return table;
}();

__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(std::span<const std::byte> bytes, std::uint32_t before) {
  std::uint64_t crc = ~before;
  while (bytes.size() >= sizeof(std::uint64_t)) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, bytes.data(), sizeof(eight));
    crc = _mm_crc32_u64(crc, eight);
    bytes = bytes.subspan(sizeof(eight));
  }
  auto last = static_cast<std::uint32_t>(crc);
  for (const std::byte byte : bytes) last = _mm_crc32_u8(last, static_cast<unsigned char>(byte));
  return ~last;
}

}  // namespace

std::uint32_t crc32c_portable(std::span<const std::byte> bytes, std::uint32_t before) {
  std::uint32_t crc = ~before;
  for (const std::byte byte : bytes) crc = (crc >> 8) ^ remainders[(crc ^ static_cast<std::uint32_t>(byte)) & 0xFF];
  return ~crc;
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) {
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  return has_instruction ? crc32c_sse42(bytes, before) : crc32c_portable(bytes, before);
}

std::vector<std::filesystem::path> entries_of(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> entries;
  if (!base::exists(folder)) return entries;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    entries.push_back(entry->path());
  }
  require(error, folder);
  return entries;
}

}  // namespace base
}  // namespace facet
