#pragma once

#include <filesystem>
#include <string_view>

namespace facet::base {

/// The file in a folder whose lock (flock) stands for the folder.
inline constexpr std::string_view lock_file_name = "run.lock";

/// Keeps a folder for one owner, among all processes and within one, until it is destroyed or its process ends. The
/// file run.lock, which stays, says who owns it: process ID and host.
class FolderLock {
 public:
  /// @throws Error naming the folder and its owner where there is one, or the system's reason where the file can't be
  ///   made.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&&) = delete;

  /// False where the folder's file system has no locks: nobody is kept out then.
  bool is_held() const { return held_; }

 private:
  int descriptor_ = -1;
  bool held_ = false;
};

}  // namespace facet::base
