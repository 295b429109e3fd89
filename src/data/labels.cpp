#include "data/labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "base/text.h"
#include "facet/error.h"

namespace facet::data {
namespace {

using base::printable;

/// @param what the names are of.
void require_names(const std::string& where, const std::string& what, const std::vector<std::string>& names) {
  std::set<std::string_view> seen;
  for (const std::string& name : names) {
    if (name.empty()) throw Error(fmt::format("{}: a {} has no name", where, what));
    if (!base::is_utf8(name)) throw Error(fmt::format("{}: the {} '{}' is not UTF-8", where, what, printable(name)));
    if (!seen.insert(name).second) {
      throw Error(fmt::format("{}: the {} '{}' is there twice", where, what, printable(name)));
    }
  }
}

}  // namespace

std::vector<std::string> names_of(const std::vector<Head>& heads) {
  std::vector<std::string> names;
  for (const Head& head : heads) names.push_back(head.name);
  return names;
}

std::string list_of(const std::vector<std::string>& names) {
  std::string list;
  for (std::size_t i = 0; i < std::min(names.size(), max_listed); ++i) {
    list += (i == 0 ? "" : ", ") + printable(names[i]);
  }
  return names.size() > max_listed ? fmt::format("{} and {} more", list, names.size() - max_listed) : list;
}

void require_named_heads(const std::string& where, const std::vector<Head>& heads) {
  require_names(where, "head", names_of(heads));
  for (const Head& head : heads) {
    if (head.classes.empty()) throw Error(fmt::format("{}: head '{}' has no class", where, printable(head.name)));
    require_names(where, fmt::format("class of head '{}'", printable(head.name)), head.classes);
  }
}

void require_index(const std::string& set, std::int64_t index, std::int64_t size) {
  if (index >= 0 && index < size) return;
  throw Error(size == 0 ? fmt::format("{}: image {}; it holds none", set, index)
                        : fmt::format("{}: image {}; 0 to {} are allowed", set, index, size - 1));
}

void require_labels(const std::string& image, std::span<const std::int32_t> labels, const std::vector<Head>& heads) {
  if (labels.size() != heads.size()) {
    throw Error(fmt::format("{}: {} labels for {} heads", printable(image), labels.size(), heads.size()));
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto classes = static_cast<std::int32_t>(heads[i].classes.size());
    if (labels[i] != no_label && (labels[i] < 0 || labels[i] >= classes)) {
      throw Error(fmt::format("{}: head '{}': label {}; 0 to {} are allowed, and {} for none", printable(image),
                              printable(heads[i].name), labels[i], classes - 1, no_label));
    }
  }
}

}  // namespace facet::data
