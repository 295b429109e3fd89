#include "base/text.h"

#include <doctest/doctest.h>

#include <stdexcept>

#include "base/median.h"
#include "facet/tensor_types.h"
#include "facet/text.h"

using facet::printable;
using facet::base::is_utf8;
using facet::base::lower_case;
TEST_CASE("printable text is unchanged, including backslashes and other scripts") {
  for (const std::string text : {"", "a b", "C:\\faces\\1.jpg", "caf\u00e9 \u4eba \U0001F600", "'\"%{}"}) {
    CHECK(printable(text) == text);
  }
}

TEST_CASE("control characters and changes of text direction become escapes on one line") {
  CHECK(printable("a\nb\r\tc") == "a\\nb\\r\\tc");
  CHECK(printable("\x1B[31mred\x07\x7F") == "\\x1B[31mred\\x07\\x7F");
  CHECK(printable(std::string("a\0b", 3)) == "a\\x00b");
  CHECK(printable("\u009B2J") == "\\u009B2J");
  CHECK(printable("gpj.\u202Eabc\u2066") == "gpj.\\u202Eabc\\u2066");
  CHECK(printable("\u2028\u200B\uFEFF") == "\\u2028\\u200B\\uFEFF");
}

TEST_CASE("each byte that is not UTF-8 becomes an escape") {
  CHECK(printable("caf\xE9") == "caf\\xE9");
  CHECK(printable("\x9B"
                  "2J") == "\\x9B2J");
  CHECK(printable("\xE2\x82") == "\\xE2\\x82");
  CHECK(!is_utf8("\xE2\x82"));
  CHECK(!is_utf8("a\xFF"));
  CHECK(is_utf8(""));
  CHECK(is_utf8("\u20AC\U0001F600"));
}

TEST_CASE("a list of names is printable, and names beyond its limit are counted") {
  CHECK(facet::list_of({}).empty());
  CHECK(facet::list_of({"a", "b\n"}) == "a, b\\n");
  CHECK(facet::list_of({"a", "b", "c"}, 3) == "a, b, c");
  CHECK(facet::list_of({"a", "b", "c"}, 2) == "a, b and 1 more");
}

TEST_CASE("lower_case changes ASCII letters only") {
  CHECK(lower_case("AgeZ-\u00c4[") == "agez-\u00c4[");
  CHECK(lower_case("").empty());
}

TEST_CASE("shapes: element count and text") {
  CHECK(facet::element_count({}) == 1);
  CHECK(facet::element_count({64, 3, 7, 7}) == 9408);
  CHECK(facet::element_count({70000, 70000}) == 4900000000);
  CHECK(facet::element_count({3, 0, 2}) == 0);
  CHECK(facet::to_string(facet::Shape{}) == "scalar");
  CHECK(facet::to_string(facet::Shape{9}) == "9");
  CHECK(facet::to_string(facet::Shape{64, 3, 7, 7}) == "64x3x7x7");
}

TEST_CASE("precisions as text") {
  CHECK(facet::to_string(facet::Precision::f32) == "f32");
  CHECK(facet::to_string(facet::Precision::bf16) == "bf16");
}

using facet::base::median;

TEST_CASE("the median is the middle value or the midpoint of the two middle values") {
  CHECK(median({3}) == 3);
  CHECK(median({5, 1, 9}) == 5);
  CHECK(median({4, 1, 2, 100}) == 3);
  CHECK_THROWS_AS(median({}), std::out_of_range);
}
