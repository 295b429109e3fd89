#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace facet::formats {

/// A regular file of which parts are read, at given positions. Const members are thread-safe.
class ReadableFile {
 public:
  /// @throws Error naming the file and the system's reason.
  explicit ReadableFile(const std::filesystem::path& file);
  ~ReadableFile();
  ReadableFile(const ReadableFile&) = delete;
  ReadableFile& operator=(const ReadableFile&) = delete;

  const std::string& name() const { return name_; }
  /// The size in bytes when the file was opened.
  std::uint64_t size() const { return size_; }
  /// Fills `bytes` from position `offset`. @throws Error naming the file when it ends too early or can't be read.
  void read(std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  std::string name_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace facet::formats
