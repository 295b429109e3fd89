#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "facet/export.h"

namespace facet {

/// Returns the absolute path that a file's name leads to once links are followed; nothing needs to exist there. The
/// system's own links, such as /dev/stdout, which leads to a name below /proc, are not followed.
FACET_EXPORT std::filesystem::path resolve_links(std::filesystem::path file);

/// Returns the status of a path, for std::filesystem::exists and its like; links are followed.
/// @throws Error naming the path when the system can't determine it (for example because a folder above may not be
///   searched).
FACET_EXPORT std::filesystem::file_status status_of(const std::filesystem::path& path);

/// Reads a regular file. When the system reports EIO or ESTALE, which network file systems do temporarily, it is tried
/// again up to three times within about a second.
/// @throws Error naming the file when it can't be read, isn't a regular file or is longer than 1 GiB.
FACET_EXPORT std::string read_text(const std::filesystem::path& file);

/// Writes a file completely or not at all. The contents go to a temporary file beside the target, which is synced and
/// renamed over the target; then the folder is synced. If the process is killed at any moment, either the old or the
/// new file is there.
///
/// If the name is a link, the link stays and the file that it leads to is replaced. A target that can't be replaced (a
/// pipe, a device, anything below /proc or /dev other than /dev/shm) is written to directly.
class FACET_EXPORT AtomicFile {
 public:
  /// @throws Error naming the file when it can't be created.
  explicit AtomicFile(std::filesystem::path file);
  /// Removes the temporary file and leaves the old file if commit() was not called.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Returns whether the target is written to directly, without a temporary file.
  bool writes_directly() const { return writes_directly_; }
  /// Returns the temporary file, for a signal handler to remove; empty if there is none.
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
  FACET_NO_EXPORT void make_temporary();
  FACET_NO_EXPORT void close();

  std::filesystem::path file_;       ///< as the caller named it
  std::filesystem::path target_;     ///< the file that links lead to
  std::filesystem::path temporary_;  ///< empty if there is none, or once it has been renamed
  bool writes_directly_ = false;
  int descriptor_ = -1;
};

/// Locks a folder (by flock on the file run.lock in it) for one owner, among all processes and within one, until the
/// lock is destroyed or its process ends. The file, which is never removed, names the owner: process ID and host. A
/// Trainer holds such a lock of its run's folder.
class FACET_EXPORT FolderLock {
 public:
  /// @throws Error naming the folder and its owner when it is locked already, or the system's reason when the file
  ///   can't be created.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&&) = delete;

  /// Returns false if the folder's file system doesn't support locks; the folder is then not protected.
  bool is_held() const { return held_; }

 private:
  int descriptor_ = -1;
  bool held_ = false;
};

}  // namespace facet
