#pragma once

#include <cstddef>
#include <string>
#include <string_view>

/// UTF-8 text.
namespace facet::base {

/// Length in bytes of the UTF-8 character at the start of the text; 0 if there is none (Unicode 15, table 3-7).
std::size_t utf8_length(std::string_view text);

bool is_utf8(std::string_view text);

/// The text in lower case: A to Z become a to z, all else stays.
std::string lower_case(std::string_view text);

}  // namespace facet::base
