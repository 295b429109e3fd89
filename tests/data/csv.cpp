#include "data/csv.h"

#include <doctest/doctest.h>

#include "data/make_jpeg.h"
#include "temporary_folder.h"

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

TEST_CASE("what is no CSV is refused with its line") {
  CHECK(facet::has(csv_error("a,b\n1,\"2\n3\n"), "a.csv:2: a quoted field isn't closed"));
  CHECK(facet::has(csv_error("a,b\n1,\"2\"x\n"), "a.csv:2: 'x' after a closing quote"));
  CHECK(facet::has(csv_error(std::string("\xFF\xFE"
                                         "a\0,\0",
                                         6)),
                   "not a CSV in UTF-8"));
  CHECK(facet::has(facet::error_of([] { CsvReader("/nowhere/a.csv"); }), "/nowhere/a.csv: no such file"));
  CHECK(facet::has(facet::error_of([] { CsvReader("/tmp"); }), "/tmp: is a folder"));
}
