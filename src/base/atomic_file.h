#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>

namespace facet::base {

/// The absolute path to which the links of a file's name lead, whether anything is there or not; up to the system's own
/// links (/dev/stdout leads to a name below /proc).
std::filesystem::path where_links_lead(std::filesystem::path file);

/// A file that is written whole or not at all: to a temporary beside it, synced, renamed over it, its folder synced. A
/// kill at any moment leaves the old file or the new one.
///
/// A link stays: what it leads to is replaced. What can't be replaced (a pipe, a device, whatever is below /proc or
/// /dev, /dev/shm aside) is written to as it is, at once.
class AtomicFile {
 public:
  /// @throws Error naming the file when it can't be made.
  explicit AtomicFile(std::filesystem::path file);
  /// Without commit(): the temporary is removed and the old file stays.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Whether it is written to as it is.
  bool at_once() const { return at_once_; }
  /// The temporary, for a signal's handler to remove; empty where there is none.
  const std::filesystem::path& temporary() const { return temporary_; }
  /// @throws Error naming the file and the system's reason (a full disk, say).
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Writes over bytes that were written before, from position `offset` on; not where the file is written to at once.
  /// @throws Error likewise.
  void overwrite(std::uint64_t offset, std::string_view text);
  /// Syncs and renames. @throws Error likewise; the old file then stays.
  void commit();

 private:
  void make_temporary();
  void close();

  std::filesystem::path file_;       ///< as it was asked for
  std::filesystem::path target_;     ///< where links lead
  std::filesystem::path temporary_;  ///< empty where there is none, or no more
  bool at_once_ = false;
  int descriptor_ = -1;
};

}  // namespace facet::base
