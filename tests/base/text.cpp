#include "base/text.h"

#include <doctest/doctest.h>

using facet::base::is_utf8;
using facet::base::lower_case;
using facet::base::printable;

TEST_CASE("text that a terminal shows as it is stays, backslashes and other scripts included") {
  for (const std::string text : {"", "a b", "C:\\faces\\1.jpg", "caf\u00e9 \u4eba \U0001F600", "'\"%{}"}) {
    CHECK(printable(text) == text);
  }
}

TEST_CASE("control characters and changes of direction become escapes, on one line") {
  CHECK(printable("a\nb\r\tc") == "a\\nb\\r\\tc");
  CHECK(printable("\x1B[31mred\x07\x7F") == "\\x1B[31mred\\x07\\x7F");
  CHECK(printable(std::string("a\0b", 3)) == "a\\x00b");
  CHECK(printable("\u009B2J") == "\\u009B2J");
  CHECK(printable("gpj.\u202Eabc\u2066") == "gpj.\\u202Eabc\\u2066");
  CHECK(printable("\u2028\u200B\uFEFF") == "\\u2028\\u200B\\uFEFF");
}

TEST_CASE("bytes that are not UTF-8 become escapes, one each") {
  CHECK(printable("caf\xE9") == "caf\\xE9");
  CHECK(printable("\x9B"
                  "2J") == "\\x9B2J");
  CHECK(printable("\xE2\x82") == "\\xE2\\x82");
  CHECK(!is_utf8("\xE2\x82"));
  CHECK(!is_utf8("a\xFF"));
  CHECK(is_utf8(""));
  CHECK(is_utf8("\u20AC\U0001F600"));
}

TEST_CASE("lower case is of ASCII's letters alone") {
  CHECK(lower_case("AgeZ-\u00c4[") == "agez-\u00c4[");
  CHECK(lower_case("").empty());
}
