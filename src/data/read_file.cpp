#include "data/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace facet::data {
namespace {

class Descriptor {
 public:
  explicit Descriptor(const std::filesystem::path& file) : number_(::open(file.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

std::string reason_of(int error) {
  if (error == ENOENT || error == ENOTDIR) return "no such file";
  return "can't be read: " + std::generic_category().message(error);
}

}  // namespace

std::string read_file(const std::filesystem::path& file, std::vector<std::uint8_t>& bytes) {
  const Descriptor descriptor(file);
  if (descriptor.number() < 0) return reason_of(errno);
  struct stat status {};
  if (::fstat(descriptor.number(), &status) != 0) return reason_of(errno);
  if (S_ISDIR(status.st_mode)) return "is a folder, not a file";

  // One byte more than the size, so that the read that fills it also sees the end; pipes have no size and grow.
  bytes.resize(static_cast<std::size_t>(status.st_size) + 1);
  std::size_t count = 0;
  for (;;) {
    const ssize_t got = ::read(descriptor.number(), bytes.data() + count, bytes.size() - count);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return reason_of(errno);
    if (got == 0) break;
    count += static_cast<std::size_t>(got);
    if (count == bytes.size()) bytes.resize(bytes.size() * 2);
  }
  bytes.resize(count);
  return {};
}

}  // namespace facet::data
