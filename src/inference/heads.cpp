#include "inference/heads.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/text.h"
#include "data/labels.h"
#include "facet/error.h"

namespace facet::inference {

void require_heads(const std::vector<Head>& expected, const std::vector<Head>& found, std::string_view whose) {
  const std::vector<std::string> expected_names = data::names_of(expected), found_names = data::names_of(found);
  if (expected_names != found_names) {
    throw Error(fmt::format("{} has the heads {}, the model has {}", whose, data::list_of(found_names),
                            data::list_of(expected_names)));
  }
  for (std::size_t head = 0; head < expected.size(); ++head) {
    const std::vector<std::string>&model = expected[head].classes, &other = found[head].classes;
    if (model == other) continue;
    std::size_t same = 0;  // list_of may leave out where they differ
    while (same < std::min(model.size(), other.size()) && model[same] == other[same]) ++same;
    const auto name = [&](const std::vector<std::string>& classes) {
      return same < classes.size() ? base::printable(classes[same]) : "none";
    };
    const std::string place =
        same < data::max_listed ? "" : fmt::format("; class {} is {}, in the model {}", same, name(other), name(model));
    throw Error(fmt::format("{}: head {} has the classes {}, in the model it has {}{}", whose, found[head].name,
                            data::list_of(other), data::list_of(model), place));
  }
}

}  // namespace facet::inference
