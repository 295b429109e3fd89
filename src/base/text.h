#pragma once

#include <cstddef>
#include <string>
#include <string_view>

/// Text in UTF-8, and how messages show text that others wrote.
namespace facet::base {

/// Bytes of the UTF-8 character that the text begins with; 0 where there is none (Unicode 15, table 3-7).
std::size_t utf8_length(std::string_view text);

bool is_utf8(std::string_view text);

/// The text as a message, or a terminal, can show it on one line. Control characters and those that change the
/// direction of text or end a line become escapes as in C ("\n", "\x1B", "\u009B"), bytes that are not UTF-8 likewise
/// ("\xE9"); all else, backslashes included, stays.
std::string printable(std::string_view text);

/// The text with A to Z as a to z; all else stays.
std::string lower_case(std::string_view text);

}  // namespace facet::base
