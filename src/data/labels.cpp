#include "data/labels.h"

#include <fmt/format.h>

#include "facet/error.h"

namespace facet::data {

std::vector<std::string> names_of(const std::vector<Head>& heads) {
  std::vector<std::string> names;
  for (const Head& head : heads) names.push_back(head.name);
  return names;
}

void require_labels(const std::string& image, std::span<const std::int32_t> labels, const std::vector<Head>& heads) {
  if (labels.size() != heads.size()) {
    throw Error(fmt::format("{}: {} labels for {} heads", image, labels.size(), heads.size()));
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto classes = static_cast<std::int32_t>(heads[i].classes.size());
    if (labels[i] != no_label && (labels[i] < 0 || labels[i] >= classes)) {
      throw Error(fmt::format("{}: head '{}': label {}; 0 to {} are allowed, and {} for none", image, heads[i].name,
                              labels[i], classes - 1, no_label));
    }
  }
}

}  // namespace facet::data
