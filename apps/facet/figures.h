#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace facet::app {

/// 35264338 as "35,264,338".
std::string grouped(std::int64_t number);
/// "1 image", "2,000 images".
std::string counted(std::int64_t count, const std::string& one);
/// "512 kB", "1.93 GB" (powers of 1000).
std::string bytes_text(double bytes);
/// "0:42", "12:05", "1:02:03".
std::string duration_text(double seconds);
/// A share as "81.2 %".
std::string percent(double share);

/// So many classes have a row of their own in a table for people.
inline constexpr std::size_t max_classes_shown = 1000;
/// The line below such a table: "(and 9,000 more classes)"; empty where all are shown.
std::string more_classes(std::size_t classes);

}  // namespace facet::app
