#include "base/files.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "facet/error.h"
#include "facet/files.h"
#include "file_size_limit.h"
#include "testing.h"

using facet::AtomicFile;
using facet::FileSizeLimit;
using facet::read_file;
using facet::TemporaryFolder;
using facet::write_file;

namespace {

std::ptrdiff_t entries(const TemporaryFolder& folder) {
  return std::distance(std::filesystem::directory_iterator(folder.path()), {});
}

/// Returns what is written to a pipe while it is open at both ends.
std::string through_pipe(int reader, const std::filesystem::path& writer) {
  AtomicFile file(writer);
  file.write("text");
  file.commit();
  std::string text(4, ' ');
  CHECK(::read(reader, text.data(), text.size()) == 4);
  return text;
}

}  // namespace

TEST_CASE("a committed file replaces the old one and leaves no temporary file") {
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

TEST_CASE("written bytes can be overwritten before the commit") {
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

TEST_CASE("a link stays, and the file that it leads to is written whether or not it exists") {
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

TEST_CASE("a link to itself is an error and stays") {
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

TEST_CASE("a descriptor of this process, named below /proc, is written to at its current position") {
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

TEST_CASE("two writers of one file don't interfere; the last commit wins") {
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

TEST_CASE("a file in the working folder gets the permissions that the umask allows") {
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

TEST_CASE("a file that can't be created is an error that names it") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH_AS(AtomicFile(folder / "none/file"), doctest::Contains("none/file: No such file"), facet::Error);
  CHECK_THROWS_WITH_AS(AtomicFile(folder.path()), doctest::Contains("Is a directory"), facet::Error);
}

TEST_CASE("a file that exceeds the size limit is an error; the old one stays") {
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

TEST_CASE("a name with a line break doesn't break the message's line") {
  const TemporaryFolder folder;
  const std::string escaped = (folder / "a\\nb").string();
  const auto unbroken = [&](const std::string& message) {
    CHECK(facet::contains(message, escaped));
    CHECK(!facet::contains(message, "\n"));
  };
  const auto missing = folder / "a\nb";
  unbroken(facet::error_of([&] { facet::read_text(missing); }));
  unbroken(facet::error_of([&] { AtomicFile file(missing / "file"); }));
  unbroken(facet::error_of([&] { facet::FolderLock lock(missing); }));
  std::filesystem::create_directory(missing);
  unbroken(facet::error_of([&] { facet::status_of(missing / std::string(300, 'x')); }));
  const facet::FolderLock held(missing);
  unbroken(facet::error_of([&] { facet::FolderLock second(missing); }));
}

using namespace facet;
using facet::FolderLock;

TEST_CASE("a folder has one owner at a time, within a process too") {
  const TemporaryFolder folder;
  {
    FolderLock first(folder.path());
    CHECK(first.is_held());
    const std::string error = error_of([&] { FolderLock second(folder.path()); });
    CHECK(error.starts_with(folder.path().string() + " is in use by process " + std::to_string(::getpid()) + " on "));
    const FolderLock moved = std::move(first);
    CHECK(moved.is_held());
    CHECK(contains(error_of([&] { FolderLock second(folder.path()); }), "is in use by"));
  }
  CHECK(FolderLock(folder.path()).is_held());
}

TEST_CASE("a locked folder can't be locked by another process until its owner has ended") {
  const TemporaryFolder folder;
  const auto locked_by_child = [&] {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(error_of([&] { FolderLock lock(folder.path()); }).empty() ? 0 : 1);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  };
  std::optional<FolderLock> lock(folder.path());
  CHECK(!locked_by_child());
  lock.reset();
  CHECK(locked_by_child());
  CHECK(FolderLock(folder.path()).is_held());
}

TEST_CASE("the error for a folder that can't be locked names it") {
  const TemporaryFolder folder;
  CHECK(error_of([&] { FolderLock lock(folder / "missing"); }) ==
        "cannot lock " + (folder / "missing" / "run.lock").string() + ": No such file or directory");
}

using facet::base::crc32c;
using facet::base::crc32c_portable;

namespace {

std::vector<std::byte> filled(std::size_t size, int first, int step) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(first + step * static_cast<int>(i));
  return bytes;
}

}  // namespace

TEST_CASE("CRC-32C gives the values of RFC 3720, with the CPU's instruction and without it") {
  struct Case {
    std::vector<std::byte> bytes;
    std::uint32_t crc;
  };
  const std::string_view digits = "123456789";
  const auto characters = std::as_bytes(std::span(digits));
  for (const Case& known :
       {Case{filled(32, 0, 0), 0x8A9136AA}, Case{filled(32, 0xFF, 0), 0x62A8AB43}, Case{filled(32, 0, 1), 0x46DD794E},
        Case{filled(32, 31, -1), 0x113FDB5C}, Case{{characters.begin(), characters.end()}, 0xE3069283}, Case{{}, 0}}) {
    CHECK(crc32c(known.bytes) == known.crc);
    CHECK(crc32c_portable(known.bytes) == known.crc);
  }
}

TEST_CASE("the CRC of pieces of any length and alignment is that of the whole") {
  const std::vector<std::byte> bytes = filled(100, 3, 7);
  const std::span<const std::byte> all(bytes);
  for (std::size_t begin = 0; begin < 9; ++begin) {
    const auto whole = all.subspan(begin);
    const std::uint32_t expected = crc32c_portable(whole);
    CHECK(crc32c(whole) == expected);
    for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
      CHECK(crc32c(whole.subspan(cut), crc32c(whole.first(cut))) == expected);
      CHECK(crc32c_portable(whole.subspan(cut), crc32c_portable(whole.first(cut))) == expected);
    }
  }
}
