#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "data/fairface.h"
#include "facet/error.h"
#include "facet/model_file.h"
#include "facet/text.h"
#include "formats/weight_file.h"

namespace facet {
namespace {

/// Returns a negative number if the text isn't the number of a row.
std::int64_t parse_row(std::string_view text) {
  std::int64_t row = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), row);
  return error == std::errc() && end == text.data() + text.size() && row < max_head_rows ? row : -1;
}

/// Parses one head, such as "race:0-6".
HeadRows parse_part(std::string_view part, std::string_view text) {
  const std::size_t colon = part.rfind(':');
  const std::size_t dash = part.rfind('-');
  std::int64_t first = -1, last = -1;
  if (colon != std::string_view::npos && colon > 0 && dash != std::string_view::npos && dash > colon) {
    first = parse_row(part.substr(colon + 1, dash - colon - 1));
    last = parse_row(part.substr(dash + 1));
  }
  if (first < 0 || last <= first) {
    throw Error(fmt::format(
        "'{}' of '{}' is not a head; NAME:FIRST-LAST is needed, with two or more rows from 0 to {}, such as race:0-6",
        printable(part), printable(text), max_head_rows - 1));
  }
  const std::string name(part.substr(0, colon));
  return {.head = {name, default_classes(name, last - first + 1)}, .first = first};
}

void require_apart(const HeadRows& one, const HeadRows& other, std::string_view text) {
  const auto end = [](const HeadRows& part) { return part.first + std::ssize(part.head.classes); };
  if (one.head.name == other.head.name) {
    throw Error(fmt::format("'{}' has the head {} twice", printable(text), one.head.name));
  }
  if (one.first < end(other) && other.first < end(one)) {
    throw Error(fmt::format("'{}' has row {} in both {} and {}", printable(text), std::max(one.first, other.first),
                            one.head.name, other.head.name));
  }
}

}  // namespace

HeadSplit parse_head_split(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == 0 || equals == std::string_view::npos) {
    throw Error(fmt::format("'{}' found; LAYER=NAME:FIRST-LAST,... is needed, such as fc=race:0-6,gender:7-8,age:9-17",
                            printable(text)));
  }
  HeadSplit split{.layer = std::string(text.substr(0, equals))};
  for (std::size_t begin = equals + 1; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    HeadRows part = parse_part(text.substr(begin, end - begin), text);
    for (const HeadRows& other : split.heads) require_apart(part, other, text);
    split.heads.push_back(std::move(part));
    begin = end + 1;
  }
  return split;
}

std::vector<std::string> default_classes(std::string_view head, std::int64_t count) {
  const std::vector<std::string>* known = data::fairface_set_of(head);
  if (known != nullptr && std::ssize(*known) == count) return *known;
  std::vector<std::string> classes;
  for (std::int64_t i = 0; i < count; ++i) classes.push_back(std::to_string(i));
  return classes;
}

}  // namespace facet
