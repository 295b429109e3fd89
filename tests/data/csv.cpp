#include "data/csv.h"

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

TEST_CASE("fields are split at commas, rows at LF, CRLF or CR") {
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

TEST_CASE("quoted fields hold commas, quotes and line ends; lines are counted through them") {
  const auto rows = rows_of("\"a,b\",\"say \"\"hi\"\"\"\r\n\"two\r\nlines\",x\r\n\"\",last\r\n");
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].fields == Fields{"a,b", "say \"hi\""});
  CHECK(rows[1].fields == Fields{"two\r\nlines", "x"});
  CHECK(rows[2].fields == Fields{"", "last"});
  CHECK(rows[1].line == 2);
  CHECK(rows[2].line == 4);
}

TEST_CASE("a byte-order mark and blank lines are passed over") {
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

TEST_CASE("the first line without a comma tells whether semicolons or tabs separate the fields") {
  CHECK(rows_of("a;b\n1,2;3\n")[1].fields == Fields{"1,2", "3"});
  CHECK(rows_of("\n  \na\tb\n1;2\t3\n")[1].fields == Fields{"1;2", "3"});
  CHECK(rows_of("\"a,b\";c\n1;2\n")[0].fields == Fields{"a,b", "c"});
  CHECK(rows_of("a;b,c\n")[0].fields == Fields{"a;b", "c"});
  CHECK(rows_of("a\tb;c\n")[0].fields == Fields{"a\tb", "c"});
  CHECK(rows_of("a\n1;2\n")[1].fields == Fields{"1;2"});
  CHECK(facet::contains(csv_error("a;b\n\"1\",2\n"),
                        "a.csv:2: ',' after a closing quote, where a semicolon or the line's end is allowed"));
}

TEST_CASE("other encodings and files that are no text are named") {
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
  CHECK(facet::contains(error("ab\0\0"sv), "a.csv: is a binary file, and no CSV"));
}

TEST_CASE("what isn't UTF-8 is refused with its line and byte") {
  CHECK(rows_of("file,\u00e9t\u00e9\n\u20ac,\U0001F600\xF4\x8F\xBF\xBF\xED\x9F\xBF\xEF\xBF\xBF\n").size() == 2);
  const std::string latin1 = csv_error("file,age\r\na,\"two\nlines\"\r\nb,caf\xE9\n");
  CHECK(facet::contains(latin1, "a.csv:4: not UTF-8: a byte 0xE9"));
  CHECK(facet::contains(csv_error("a\rb\r\xFF"), "a.csv:3: not UTF-8: a byte 0xFF"));
  // Cut off, continued by nothing, longer than needed, half a UTF-16 pair, beyond Unicode.
  for (const std::string bad :
       {"\xC3", "\xC3(", "\x80", "\xC0\xAF", "\xC1\x81", "\xE0\x80\xAF", "\xE2\x82", "\xE2(\xAC", "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF", "\xF0\x9F\x98", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80"}) {
    CAPTURE(bad.size());
    CHECK(facet::contains(csv_error("a,b\n1," + bad), "a.csv:2: not UTF-8"));
    CHECK(facet::contains(csv_error("a,b\n1," + bad + "\n"), "a.csv:2: not UTF-8"));
  }
}

TEST_CASE("what is no CSV is refused with its line") {
  CHECK(facet::contains(csv_error("a,b\n1,\"2\n3\n"), "a.csv:2: a quoted field isn't closed"));
  CHECK(facet::contains(csv_error("a,b\n1,\"2\"x\n"), "a.csv:2: 'x' after a closing quote"));
  CHECK(facet::contains(facet::error_of([] { CsvReader("/nowhere/a.csv"); }), "/nowhere/a.csv: no such file"));
  CHECK(facet::contains(facet::error_of([] { CsvReader("/tmp"); }), "/tmp: is a folder"));
}

TEST_CASE("a row of very many fields is refused with its line, before it fills the memory") {
  CHECK(rows_of("a\n" + std::string(16383, ',') + "\n").back().fields.size() == 16384);
  const std::string error = csv_error("a\nb\n" + std::string(10'000'000, ','));
  CHECK(facet::contains(error, "a.csv:3: more than 16384 fields"));
}

TEST_CASE("messages hold no control characters of the file or of its name") {
  CHECK(facet::contains(csv_error("a\n\"b\"\x1B[2J"), "a.csv:2: '\\x1B' after a closing quote"));
  CHECK(facet::contains(csv_error("a\n\"b\"\u20AC"), "a.csv:2: '\u20AC' after a closing quote"));
  CHECK(facet::error_of([] { CsvReader("/nowhere/\x1B\n.csv"); }) == "/nowhere/\\x1B\\n.csv: no such file");
}
