#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "facet/export.h"

namespace facet {

/// Returns the text as a message or a terminal can show it on one line. Control characters and those that change the
/// text's direction or end a line become escapes as in C ("\n", "\x1B", "\u009B"), as do bytes that are not UTF-8
/// ("\xE9"). All else, backslashes included, stays. Names of files, heads and classes may hold any of these.
FACET_EXPORT std::string printable(std::string_view text);

/// Returns a list of names for a message, in printable form: "a, b, c". Names beyond `max_listed` are only counted:
/// "a, b and 5 more".
FACET_EXPORT std::string list_of(const std::vector<std::string>& names, std::size_t max_listed = 20);

}  // namespace facet
