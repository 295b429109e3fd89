#include "formats/zip_archive.h"

#include <doctest/doctest.h>

#include <span>

#include "formats/pickles.h"
#include "testing.h"

using namespace facet;
using formats::ZipArchive;

namespace {

std::string read(const ZipArchive& archive, const std::string& entry, std::uint64_t offset, std::size_t count) {
  std::string content(count, '\0');
  archive.read(entry, offset, std::as_writable_bytes(std::span(content)));
  return content;
}

std::string error_of_reading(const std::filesystem::path& file, const std::string& entry, std::uint64_t offset,
                             std::size_t count) {
  return error_of([&] { read(ZipArchive(file), entry, offset, count); });
}

/// Text without repetitions within deflate's window.
std::string digits(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += std::to_string(i);
  return text;
}

}  // namespace

TEST_CASE("entries are read at any offset, stored or deflated") {
  const TemporaryFolder folder;
  const std::string content = digits(50'000);
  pickles::write_zip(folder / "a.zip", {{"stored", content, false}, {"deflated", content, true}, {"empty", "", false}});
  const ZipArchive archive(folder / "a.zip");
  CHECK(archive.name() == (folder / "a.zip").string());
  CHECK(archive.entries().size() == 3);
  for (const char* entry : {"stored", "deflated"}) {
    CHECK(archive.size_of(entry) == content.size());
    CHECK(read(archive, entry, 0, content.size()) == content);
    CHECK(read(archive, entry, 100'001, 7) == content.substr(100'001, 7));
    CHECK(read(archive, entry, content.size() - 5, 5) == content.substr(content.size() - 5));
    CHECK(read(archive, entry, content.size(), 0).empty());
  }
  CHECK(read(archive, "empty", 0, 0).empty());
}

TEST_CASE("missing entries, bytes and files are refused") {
  const TemporaryFolder folder;
  pickles::write_zip(folder / "a.zip", {{"a", "12345"}});
  CHECK(contains(error_of_reading(folder / "a.zip", "b", 0, 1), R"("b" in its zip archive is missing)"));
  CHECK(contains(error_of_reading(folder / "a.zip", "a", 0, 6), "has 5 bytes; 6 bytes from byte 0 on are needed"));
  CHECK(contains(error_of_reading(folder / "a.zip", "a", UINT64_MAX, 2), "has 5 bytes"));
  CHECK(contains(error_of([&] { ZipArchive(folder / "none.zip"); }), "can't be opened"));
  CHECK(contains(error_of([&] { ZipArchive(folder.path()); }), "is not a regular file"));
}

TEST_CASE("damaged and truncated archives, and duplicate entries, are refused") {
  const TemporaryFolder folder;
  const auto file = folder / "a.zip";
  const std::string content = digits(500);
  pickles::write_zip(file, {{"first", content}, {"other", content}});
  const std::string good = read_file(file);

  for (std::size_t length = 0; length < good.size(); length += 7) {
    write_file(file, good.substr(0, length));
    CHECK(contains(error_of([&] { ZipArchive{file}; }), "is not a complete zip archive"));
  }
  std::string changed = good;
  changed[changed.find("123")] = 'x';
  write_file(file, changed);
  CHECK(contains(error_of_reading(file, "first", 0, content.size()), R"("first" in its zip archive is damaged: CRC)"));

  std::string doubled = good;
  for (std::size_t at = 0; (at = doubled.find("other", at)) != std::string::npos;) doubled.replace(at, 5, "first");
  write_file(file, doubled);
  CHECK(contains(error_of([&] { ZipArchive{file}; }), R"(holds "first" twice)"));

  for (std::size_t position = good.size() - 150; position < good.size(); ++position) {  // the directory at the end
    for (int bit = 0; bit < 8; ++bit) {
      changed = good;
      changed[position] = static_cast<char>(changed[position] ^ (1 << bit));
      write_file(file, changed);
      error_of_reading(file, "first", 0, content.size());
    }
  }
}

TEST_CASE("an entry that unpacks to far more than its packed size is refused") {
  const TemporaryFolder folder;
  pickles::write_zip(folder / "a.zip", {{"bomb", std::string(std::size_t{80} << 20, '\0'), true},
                                        {"zeros", std::string(1 << 20, '\0'), true}});
  CHECK(contains(error_of_reading(folder / "a.zip", "bomb", 0, 1), "at most 100 times as many are allowed"));
  CHECK(read(ZipArchive(folder / "a.zip"), "zeros", 5, 3) == std::string(3, '\0'));
  CHECK(contains(error_of([&] { ZipArchive(folder / "a.zip").size_of("bomb"); }), "at most 100 times as many"));

  pickles::write_zip(folder / "a.zip", {{"a", digits(500), true}});
  const auto claims = [&](std::uint32_t packed, std::uint32_t unpacked) {
    pickles::claim_sizes(folder / "a.zip", "a", packed, unpacked);
    return error_of([&] { ZipArchive(folder / "a.zip").size_of("a"); });
  };
  CHECK(contains(claims(700, 1 << 30), R"("a" in its zip archive claims to unpack 700 bytes to 1073741824)"));
  CHECK(contains(claims(1 << 30, 1 << 30), "claims to take 1073741824 bytes, but the file has"));
  CHECK(claims(700, 1 << 20).empty());
}
