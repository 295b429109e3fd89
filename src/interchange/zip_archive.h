#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
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

  const std::string& name() const;
  /// The names of its entries.
  const std::set<std::string, std::less<>>& entries() const { return entries_; }
  /// Bytes of an entry, unpacked, as the archive claims: never so many that they can't be allocated.
  /// @throws Error naming the file and the entry when there is none of that name, or it claims to take more bytes than
  ///   the file has, or to unpack to far more than weights ever do.
  std::uint64_t size_of(std::string_view entry) const;
  /// Fills `bytes` from position `offset` of an entry.
  /// @throws Error as size_of does, and when the entry ends before, can't be unpacked or is damaged.
  void read(std::string_view entry, std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  struct Handle;

  std::unique_ptr<Handle> handle_;
  std::set<std::string, std::less<>> entries_;
};

}  // namespace facet::interchange
