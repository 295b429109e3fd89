#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace facet::interchange {

/// A zip archive that is read at positions of its entries, stored or deflated. Not thread-safe.
class ZipArchive {
 public:
  /// @throws Error naming the file when it is no whole archive, or names an entry twice.
  explicit ZipArchive(const std::filesystem::path& file);
  ~ZipArchive();
  ZipArchive(const ZipArchive&) = delete;
  ZipArchive& operator=(const ZipArchive&) = delete;

  const std::string& name() const { return name_; }
  /// By name: bytes, unpacked, as the archive claims.
  const std::map<std::string, std::uint64_t, std::less<>>& entries() const { return entries_; }
  /// Fills `bytes` from position `offset` of an entry.
  /// @throws Error naming the file and the entry when there is none of that name, it ends before, can't be unpacked, is
  ///   damaged, or claims to unpack to far more than weights ever do.
  void read(std::string_view entry, std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  struct Handle;

  std::string name_;
  std::unique_ptr<Handle> handle_;
  std::map<std::string, std::uint64_t, std::less<>> entries_;
};

}  // namespace facet::interchange
