#include "base/read_file.h"

#include <doctest/doctest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "testing.h"

namespace {

/// The number of this thread's next reads that fail, and their error.
thread_local int failures = 0;
thread_local int failure = 0;

}  // namespace

// Replaces libc's function in this program.
extern "C" ssize_t read(int descriptor, void* bytes, size_t count) {
  if (failures > 0) {
    --failures;
    errno = failure;
    return -1;
  }
  return ::syscall(SYS_read, descriptor, bytes, count);
}

using facet::base::read_file;

TEST_CASE("a transient error is retried a few times within seconds") {
  const facet::TemporaryFolder folder;
  facet::write_file(folder / "a", "text");
  for (const int error : {EIO, ESTALE}) {
    failure = error;
    failures = 3;
    CHECK(read_file(folder / "a", 100).size() == 4);
    CHECK(failures == 0);
    failures = 1000;
    const auto begin = std::chrono::steady_clock::now();
    const std::string message = facet::error_of([&] { read_file(folder / "a", 100); });
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
    CHECK(failures == 996);
    failures = 0;
    CHECK(message == std::string("can't be read: ") + std::strerror(error));
  }
}

TEST_CASE("other errors are not retried") {
  const facet::TemporaryFolder folder;
  facet::write_file(folder / "a", "text");
  failure = EACCES;
  failures = 2;
  CHECK(facet::error_of([&] { read_file(folder / "a", 100); }) == "can't be read: Permission denied");
  CHECK(failures == 1);
  failures = 0;
}
