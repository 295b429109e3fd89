#include "base/atomic_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

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

/// What is written into a pipe while it is open at both ends.
std::string through_pipe(int reader, const std::filesystem::path& writer) {
  AtomicFile file(writer);
  file.write("text");
  file.commit();
  std::string text(4, ' ');
  CHECK(::read(reader, text.data(), text.size()) == 4);
  return text;
}

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

TEST_CASE("what was written can be written over before it is committed") {
  const TemporaryFolder folder;
  AtomicFile file(folder / "file");
  file.write("one two three");
  file.overwrite(4, "TWO");
  file.write(" four");
  file.commit();
  CHECK(read_file(folder / "file") == "one TWO three four");
}

TEST_CASE("without commit the old file stays") {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  { AtomicFile(folder / "file").write("new"); }
  CHECK(read_file(folder / "file") == "old");
  CHECK(entries(folder) == 1);
}

TEST_CASE("a link stays and what it leads to is written, whether that is there or not") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "far");
  std::filesystem::create_symlink("far/second", folder / "first");
  std::filesystem::create_symlink("file", folder / "far/second");
  for (const char* text : {"new", "newer"}) {
    AtomicFile file(folder / "first");
    file.write(text);
    file.commit();
    CHECK(std::filesystem::is_symlink(folder / "first"));
    CHECK(std::filesystem::is_symlink(folder / "far/second"));
    CHECK(read_file(folder / "far/file") == text);
  }
  CHECK(entries(folder) == 2);
}

TEST_CASE("a link to itself is an error, and stays") {
  const TemporaryFolder folder;
  std::filesystem::create_symlink("loop", folder / "loop");
  CHECK_THROWS_WITH_AS(AtomicFile(folder / "loop"), doctest::Contains("loop: Too many levels"), facet::Error);
  CHECK(std::filesystem::is_symlink(folder / "loop"));
}

TEST_CASE("a pipe and a device are written to, not replaced") {
  const TemporaryFolder folder;
  const auto pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  CHECK(through_pipe(reader, pipe) == "text");
  CHECK(std::filesystem::is_fifo(pipe));
  ::close(reader);

  std::filesystem::create_symlink("/dev/full", folder / "full");
  AtomicFile full(folder / "full");
  CHECK_THROWS_WITH_AS(full.write("x"), doctest::Contains("full: No space left"), facet::Error);
  CHECK(std::filesystem::is_symlink(folder / "full"));
  CHECK(entries(folder) == 2);
}

TEST_CASE("a descriptor of ours, by its name below /proc, is written to from where it stands") {
  const TemporaryFolder folder;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  CHECK(through_pipe(ends[0], fmt::format("/proc/self/fd/{}", ends[1])) == "text");
  ::close(ends[0]);
  ::close(ends[1]);

  const int redirected = ::open((folder / "redirected").c_str(), O_WRONLY | O_CREAT, 0600);
  REQUIRE(::write(redirected, "before ", 7) == 7);
  std::filesystem::create_symlink(fmt::format("/proc/self/fd/{}", redirected), folder / "link");
  AtomicFile file(folder / "link");
  file.write("text");
  file.commit();
  CHECK(::write(redirected, " after", 6) == 6);
  ::close(redirected);
  CHECK(read_file(folder / "redirected") == "before text after");
  CHECK(entries(folder) == 2);
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
