#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string_view>

namespace facet::base {

/// A file that is written whole or not at all: to a temporary beside it, synced, renamed over it, its folder synced. A
/// kill at any moment leaves the old file or the new one.
class AtomicFile {
 public:
  /// @throws Error naming the file when it can't be made.
  explicit AtomicFile(std::filesystem::path file);
  /// Without commit(): the temporary is removed and the old file stays.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// @throws Error naming the file and the system's reason (a full disk, say).
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Syncs and renames. @throws Error likewise; the old file then stays.
  void commit();

 private:
  std::filesystem::path file_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

}  // namespace facet::base
