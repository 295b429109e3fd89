#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace facet::app {

/// The name that a mistyped word most likely meant: one that begins with it, or the fewest edits away (at most a third
/// of the word, and two for short ones); empty when there is none.
std::string nearest(std::string_view word, const std::vector<std::string>& names);

/// "; did you mean 'NAME'?" with `prefix` before the nearest name; empty when there is none.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& names, std::string_view prefix = "");

}  // namespace facet::app
