#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>

namespace facet::formats {

/// A zip archive with stored or deflated entries, of which parts are read at given positions. Not thread-safe.
class ZipArchive {
 public:
  /// @throws Error naming the file when it isn't a complete archive or has two entries of one name.
  explicit ZipArchive(const std::filesystem::path& file);
  ~ZipArchive();
  ZipArchive(const ZipArchive&) = delete;
  ZipArchive& operator=(const ZipArchive&) = delete;

  const std::string& name() const;
  /// The names of its entries.
  const std::set<std::string, std::less<>>& entries() const { return entries_; }
  /// Returns the unpacked size of an entry in bytes, as the archive claims it, after a check that it is plausible.
  /// @throws Error naming the file and the entry when there is none of that name, or it claims to take more bytes than
  ///   the file has, or to unpack to far more than weights ever do.
  std::uint64_t size_of(std::string_view entry) const;
  /// Fills `bytes` from position `offset` of an entry.
  /// @throws Error as size_of does, and when the entry ends too early, can't be unpacked or is damaged.
  void read(std::string_view entry, std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  struct Handle;

  std::unique_ptr<Handle> handle_;
  std::set<std::string, std::less<>> entries_;
};

}  // namespace facet::formats
