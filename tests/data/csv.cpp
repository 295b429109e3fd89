#include "data/manifest/csv.h"

#include <doctest/doctest.h>

#include "data/make_jpeg.h"
#include "testing.h"

using facet::data::CsvReader;
using facet::data::CsvRow;

namespace {

std::vector<CsvRow> rows_of(const std::string& text) {
  const facet::TemporaryFolder folder;
  facet::write_file(folder / "a.csv", text);
  CsvReader reader(folder / "a.csv");
  std::vector<CsvRow> rows;
  for (CsvRow row; reader.next(row);) rows.push_back(row);
  return rows;
}

std::string csv_error(const std::string& text) {
  return facet::error_of([&] { rows_of(text); });
}

using Fields = std::vector<std::string>;

}  // namespace

TEST_CASE("fields are separated by commas, rows by LF, CRLF or CR") {
  for (const std::string end : {"\n", "\r\n", "\r"}) {
    CAPTURE(end);
    const auto rows = rows_of("a,b" + end + "1,2" + end + ",");
    REQUIRE(rows.size() == 3);
    CHECK(rows[0].fields == Fields{"a", "b"});
    CHECK(rows[1].fields == Fields{"1", "2"});
    CHECK(rows[2].fields == Fields{"", ""});
    CHECK(rows[2].line == 3);
  }
}

TEST_CASE("quoted fields may contain commas, quotes and line ends, which count as lines") {
  const auto rows = rows_of("\"a,b\",\"say \"\"hi\"\"\"\r\n\"two\r\nlines\",x\r\n\"\",last\r\n");
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].fields == Fields{"a,b", "say \"hi\""});
  CHECK(rows[1].fields == Fields{"two\r\nlines", "x"});
  CHECK(rows[2].fields == Fields{"", "last"});
  CHECK(rows[1].line == 2);
  CHECK(rows[2].line == 4);
}

TEST_CASE("a byte-order mark and blank lines are skipped") {
  const auto rows = rows_of("\xEF\xBB\xBF\n\"a\",b\n\n  \t\n1,2\n\n");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].fields == Fields{"a", "b"});
  CHECK(rows[0].line == 2);
  CHECK(rows[1].line == 5);
}

TEST_CASE("an empty file has no rows") {
  CHECK(rows_of("").empty());
  CHECK(rows_of("\xEF\xBB\xBF\r\n").empty());
}

TEST_CASE("if the first line has no comma, it decides whether semicolons or tabs separate the fields") {
  CHECK(rows_of("a;b\n1,2;3\n")[1].fields == Fields{"1,2", "3"});
  CHECK(rows_of("\n  \na\tb\n1;2\t3\n")[1].fields == Fields{"1;2", "3"});
  CHECK(rows_of("\"a,b\";c\n1;2\n")[0].fields == Fields{"a,b", "c"});
  CHECK(rows_of("a;b,c\n")[0].fields == Fields{"a;b", "c"});
  CHECK(rows_of("a\tb;c\n")[0].fields == Fields{"a\tb", "c"});
  CHECK(rows_of("a\n1;2\n")[1].fields == Fields{"1;2"});
  CHECK(facet::contains(csv_error("a;b\n\"1\",2\n"),
                        "a.csv:2: ',' follows a closing quote, where a semicolon or the end of the line is allowed"));
}

TEST_CASE("the error for another encoding or a binary file names it") {
  const auto error = [](std::string_view bytes) { return csv_error(std::string(bytes)); };
  using namespace std::string_view_literals;
  for (const std::string_view utf16 : {"\xFF\xFE"
                                       "a\0,\0"sv,
                                       "\xFE\xFF\0a\0,"sv, "a\0,\0b\0"sv, "\0a\0,"sv}) {
    CHECK(facet::contains(error(utf16), "a.csv: is in UTF-16; save the file in UTF-8"));
  }
  CHECK(facet::contains(error("\xFF\xFE\0\0a\0\0\0"sv), "a.csv: is in UTF-32"));
  CHECK(facet::contains(error("\0\0\xFE\xFF\0\0\0a"sv), "a.csv: is in UTF-32"));
  CHECK(facet::contains(error("PK\x03\x04\x14\0\0\0"sv), "a.csv: is a ZIP archive, as .xlsx and .ods are"));
  CHECK(facet::contains(error("ab\0\0"sv), "a.csv: is a binary file, not a CSV"));
}

TEST_CASE("the error for invalid UTF-8 gives the line and the byte") {
  CHECK(rows_of("file,\u00e9t\u00e9\n\u20ac,\U0001F600\xF4\x8F\xBF\xBF\xED\x9F\xBF\xEF\xBF\xBF\n").size() == 2);
  const std::string latin1 = csv_error("file,age\r\na,\"two\nlines\"\r\nb,caf\xE9\n");
  CHECK(facet::contains(latin1, "a.csv:4: byte 0xE9 is not valid UTF-8"));
  CHECK(facet::contains(csv_error("a\rb\r\xFF"), "a.csv:3: byte 0xFF is not valid UTF-8"));
  // Truncated characters, invalid continuation bytes, overlong encodings, surrogates, code points beyond Unicode.
  for (const std::string bad :
       {"\xC3", "\xC3(", "\x80", "\xC0\xAF", "\xC1\x81", "\xE0\x80\xAF", "\xE2\x82", "\xE2(\xAC", "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF", "\xF0\x9F\x98", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80"}) {
    CAPTURE(bad.size());
    CHECK(facet::contains(csv_error("a,b\n1," + bad), "a.csv:2: byte 0x"));
    CHECK(facet::contains(csv_error("a,b\n1," + bad + "\n"), "a.csv:2: byte 0x"));
  }
}

TEST_CASE("the error for an invalid CSV gives the line") {
  CHECK(facet::contains(csv_error("a,b\n1,\"2\n3\n"), "a.csv:2: a quoted field has no closing quote"));
  CHECK(facet::contains(csv_error("a,b\n1,\"2\"x\n"), "a.csv:2: 'x' follows a closing quote"));
  CHECK(facet::contains(facet::error_of([] { CsvReader("/nowhere/a.csv"); }), "/nowhere/a.csv: no such file"));
  CHECK(facet::contains(facet::error_of([] { CsvReader("/tmp"); }), "/tmp: is a folder"));
}

TEST_CASE("a row with too many fields is refused, with its line, before it exhausts memory") {
  CHECK(rows_of("a\n" + std::string(16383, ',') + "\n").back().fields.size() == 16384);
  const std::string error = csv_error("a\nb\n" + std::string(10'000'000, ','));
  CHECK(facet::contains(error, "a.csv:3: the row has more than 16384 fields"));
}

TEST_CASE("messages contain no control characters of the file or of its name") {
  CHECK(facet::contains(csv_error("a\n\"b\"\x1B[2J"), "a.csv:2: '\\x1B' follows a closing quote"));
  CHECK(facet::contains(csv_error("a\n\"b\"\u20AC"), "a.csv:2: '\u20AC' follows a closing quote"));
  CHECK(facet::error_of([] { CsvReader("/nowhere/\x1B\n.csv"); }) == "/nowhere/\\x1B\\n.csv: no such file");
}
