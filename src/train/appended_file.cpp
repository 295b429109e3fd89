#include "train/appended_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

#include "facet/error.h"

namespace facet::train {
namespace {

/// A file that is open for writing at its end; it is made where there is none.
class OpenFile {
 public:
  explicit OpenFile(const std::filesystem::path& file)
      : file_(file), descriptor_(::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666)) {
    if (descriptor_ < 0) fail();
  }
  ~OpenFile() { ::close(descriptor_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  std::int64_t size() const {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail();
    return status.st_size;
  }

  void shorten(std::int64_t size) const {
    if (::ftruncate(descriptor_, size) != 0) fail();
  }

  void write(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t written = ::write(descriptor_, text.data(), text.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail();
      text.remove_prefix(static_cast<std::size_t>(written));
    }
  }

 private:
  [[noreturn]] void fail() const {
    const int reason = errno;
    throw Error(fmt::format("cannot write {}: {}", file_.string(), std::generic_category().message(reason)),
                ErrorCode::io);
  }

  const std::filesystem::path& file_;
  int descriptor_;
};

}  // namespace

void AppendedFile::keep(std::int64_t bytes) {
  OpenFile(file_).shorten(bytes);
  whole_ = bytes;
}

void AppendedFile::add(std::string_view header, std::string_view record) {
  const OpenFile file(file_);
  const std::int64_t size = file.size();
  if (size > whole_) file.shorten(whole_);  // what could not be removed after an earlier failure
  whole_ = std::min(whole_, size);          // the file may have been moved away
  std::string bytes(whole_ == 0 ? header : std::string_view());
  bytes += record;
  try {
    file.write(bytes);
  } catch (const Error&) {
    file.shorten(whole_);
    throw;
  }
  whole_ += std::ssize(bytes);
}

}  // namespace facet::train
