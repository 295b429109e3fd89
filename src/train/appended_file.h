#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <utility>

namespace facet::train {

/// A file that records are appended to, one at a time, such as lines. It is open only while one is written, so that it
/// may be moved away meanwhile.
class AppendedFile {
 public:
  /// An existing file must be given to keep().
  explicit AppendedFile(std::filesystem::path file) : file_(std::move(file)) {}

  /// Keeps the first `bytes` of the file, which has them. @throws Error naming it.
  void keep(std::int64_t bytes);
  /// Adds a record, in an empty or new file after the header. Where that fails, the file keeps its whole records only.
  /// @throws Error naming it.
  void add(std::string_view header, std::string_view record);

 private:
  std::filesystem::path file_;
  std::int64_t whole_ = 0;  ///< the length of the whole records
};

}  // namespace facet::train
