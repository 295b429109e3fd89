#include "inference/heads.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>

#include "data/labels.h"
#include "facet/error.h"

namespace facet::inference {

void require_heads(const std::vector<Head>& expected, const std::vector<Head>& found, std::string_view whose) {
  const std::vector<std::string> expected_names = data::names_of(expected), found_names = data::names_of(found);
  if (expected_names != found_names) {
    throw Error(fmt::format("{} has the heads {}, the model has {}", whose, fmt::join(found_names, ", "),
                            fmt::join(expected_names, ", ")));
  }
  for (std::size_t head = 0; head < expected.size(); ++head) {
    if (expected[head].classes != found[head].classes) {
      throw Error(fmt::format("{}: head {} has the classes {}, in the model it has {}", whose, found[head].name,
                              fmt::join(found[head].classes, ", "), fmt::join(expected[head].classes, ", ")));
    }
  }
}

}  // namespace facet::inference
