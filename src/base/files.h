#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace facet::base {

/// The absolute path that a file's name leads to once links are followed; nothing needs to exist there. The system's
/// own links, such as /dev/stdout, which leads to a name below /proc, are not followed.
std::filesystem::path resolve_links(std::filesystem::path file);

/// Writes a file completely or not at all. The contents go to a temporary file beside the target, which is synced and
/// renamed over the target; then the folder is synced. If the process is killed at any moment, either the old or the
/// new file is there.
///
/// If the name is a link, the link stays and the file that it leads to is replaced. A target that can't be replaced (a
/// pipe, a device, anything below /proc or /dev other than /dev/shm) is written to directly.
class AtomicFile {
 public:
  /// @throws Error naming the file if it can't be created.
  explicit AtomicFile(std::filesystem::path file);
  /// Removes the temporary file and leaves the old file if commit() was not called.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Whether the target is written to directly, without a temporary file.
  bool writes_directly() const { return writes_directly_; }
  /// The temporary file, for a signal handler to remove; empty if there is none.
  const std::filesystem::path& temporary() const { return temporary_; }
  /// @throws Error naming the file and the system's reason (for example a full disk).
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Overwrites bytes that were written before, starting at position `offset`. Not supported for a target that is
  /// written to directly.
  /// @throws Error as write() does.
  void overwrite(std::uint64_t offset, std::string_view text);
  /// Syncs and renames the temporary file. @throws Error as write() does; the old file then stays.
  void commit();

 private:
  void make_temporary();
  void close();

  std::filesystem::path file_;       ///< as the caller named it
  std::filesystem::path target_;     ///< the file that links lead to
  std::filesystem::path temporary_;  ///< empty if there is none, or once it has been renamed
  bool writes_directly_ = false;
  int descriptor_ = -1;
};

/// The file in a folder whose lock (flock) locks the folder.
inline constexpr std::string_view lock_file_name = "run.lock";

/// Locks a folder for one owner, among all processes and within one, until the lock is destroyed or its process ends.
/// The file run.lock, which is never removed, names the owner: process ID and host.
class FolderLock {
 public:
  /// @throws Error naming the folder and its owner if it is locked already, or the system's reason if the file can't be
  /// created.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&&) = delete;

  /// False if the folder's file system doesn't support locks; the folder is then not protected.
  bool is_held() const { return held_; }

 private:
  int descriptor_ = -1;
  bool held_ = false;
};

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4) of `bytes`, computed by the CPU's CRC instruction where it has one.
/// @param before the CRC of the preceding bytes; 0 at the beginning.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0);

/// CRC-32C as crc32c() computes it, without SSE4.2.
std::uint32_t crc32c_portable(std::span<const std::byte> bytes, std::uint32_t before = 0);

// Queries of std::filesystem that throw facet's errors.

/// Whether the path exists; links are followed.
/// @throws Error naming the path if the system can't determine it (for example because a folder above may not be
/// searched).
bool exists(const std::filesystem::path& path);

/// Whether the path is a regular file, or a folder; links are followed. @throws Error as exists() does.
bool is_file(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);

/// The entries of a folder, in no particular order; empty if the folder doesn't exist.
/// @throws Error naming the folder if it can't be read.
std::vector<std::filesystem::path> entries_of(const std::filesystem::path& folder);

}  // namespace facet::base
