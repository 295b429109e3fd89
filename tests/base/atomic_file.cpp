#include "base/atomic_file.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "facet/error.h"
#include "temporary_folder.h"

using facet::read_file;
using facet::TemporaryFolder;
using facet::write_file;
using facet::base::AtomicFile;

namespace {

std::ptrdiff_t entries(const TemporaryFolder& folder) {
  return std::distance(std::filesystem::directory_iterator(folder.path()), {});
}

/// No file may grow beyond `bytes` while it lives: writing more fails as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

}  // namespace

TEST_CASE("a committed file replaces the old one, and nothing else is left") {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  AtomicFile file(folder / "file");
  file.write("new ");
  file.write(std::as_bytes(std::span(std::string_view("text"))));
  CHECK(read_file(folder / "file") == "old");
  file.commit();
  CHECK(read_file(folder / "file") == "new text");
  CHECK(entries(folder) == 1);
}

TEST_CASE("without commit the old file stays") {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  { AtomicFile(folder / "file").write("new"); }
  CHECK(read_file(folder / "file") == "old");
  CHECK(entries(folder) == 1);
}

TEST_CASE("two writers of one file don't meet; the last to commit wins") {
  const TemporaryFolder folder;
  AtomicFile first(folder / "file");
  AtomicFile second(folder / "file");
  first.write("first");
  second.write("second");
  second.commit();
  first.commit();
  CHECK(read_file(folder / "file") == "first");
  CHECK(entries(folder) == 1);
}

TEST_CASE("a file in the working folder, with the permissions that the umask leaves") {
  const TemporaryFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const mode_t mask = ::umask(027);
  AtomicFile file("file");
  file.write("text");
  file.commit();
  ::umask(mask);
  std::filesystem::current_path(before);
  struct stat status {};
  REQUIRE(::stat((folder / "file").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0640);
}

TEST_CASE("what can't be made is an error that names the file") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH_AS(AtomicFile(folder / "none/file"), doctest::Contains("none/file: No such file"), facet::Error);
  CHECK_THROWS_WITH_AS(AtomicFile(folder.path()), doctest::Contains("Is a directory"), facet::Error);
}

TEST_CASE("a file that may not grow is an error; the old one stays") {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  {
    const FileSizeLimit limit(10000);
    AtomicFile file(folder / "file");
    file.write(std::string(8000, 'x'));
    CHECK_THROWS_WITH_AS(file.write(std::string(8000, 'x')), doctest::Contains("file: File too large"), facet::Error);
  }
  CHECK(read_file(folder / "file") == "old");
  CHECK(entries(folder) == 1);
}
